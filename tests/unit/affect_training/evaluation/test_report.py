import json
from typing import Any

import numpy as np
import pytest
import torch
from affect_training.data import FaceData, Split
from affect_training.data.faces import DataKind
from affect_training.evaluation import calibration, metrics
from affect_training.evaluation.report import Report, fitted_on, judge
from affect_training.evaluation.tta import Tta, predict_views

from affect.errors import MediaError
from affect.inference.device import Device
from affect.inference.optional import calibration_of
from affect.pictures import FaceClassifier
from affect.testing import FakeBackend

OLD_KEYS = [
    "backend", "split", "tta", "n", "accuracy", "accuracy_ci95", "macro_f1", "ece", "nll", "per_class", "confusion",
]  # fmt: skip
"""Outsiders read these."""


class Unsure(FakeBackend):
    """Answers from the picture's rows: left and right halves differ, so a mirrored face is another answer."""

    temperature = 2.0

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits from seven columns of the left half."""
        return faces[:, 0, :, :21].reshape(len(faces), -1, 7).mean(1) * 9


def evaluate(classifier: FaceClassifier, name: str, split_name: str, split: Split, tta: Tta = "none") -> Report:
    views = predict_views(classifier, split.images, tta)
    fitted = split_name == "PublicTest"
    return judge(
        views, split.labels, name, split_name, tta, calibration=calibration_of(classifier.backend), fitted=fitted
    )


@pytest.fixture
def noisy() -> Split:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 7, 80)
    images = rng.integers(0, 256, (80, 48, 48)).astype(np.uint8)
    return Split(images, labels, np.arange(80))


@pytest.fixture
def unsure() -> FaceClassifier:
    return FaceClassifier(Unsure(), Device("cpu", "float32"))


def test_a_backend_that_is_always_right(classifier: FaceClassifier, faces: Split) -> None:
    report = evaluate(classifier, "fake", "PublicTest", faces)
    assert (report.backend, report.split, report.tta, report.n) == ("fake", "PublicTest", "none", 42)
    assert report.accuracy == report.macro_f1 == report.macro_recall == report.kappa == 1.0
    assert report.accuracy_ci95 == report.macro_f1_ci95 == (1.0, 1.0)
    assert report.confusion == (np.eye(7, dtype=int) * 6).tolist()
    assert report.per_class["fear"] == {"n": 6, "precision": 1, "recall": 1, "f1": 1, "specificity": 1}
    assert report.single_view is None


def test_the_json_keeps_its_keys_and_is_plain(unsure: FaceClassifier, noisy: Split) -> None:
    report = evaluate(unsure, "unsure", "PublicTest", noisy, "mirror")
    found = json.loads(json.dumps(report.to_json()))
    assert set(OLD_KEYS) <= set(found)
    assert list(found["per_class"]) == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert np.sum(found["confusion"]) == found["n"] == 80
    assert np.allclose(np.sum(found["confusion_normalised"], axis=1), 1)
    assert sum(bar["n"] for bar in found["reliability"]) == 80


def test_calibration_is_told_before_and_after_the_temperature(unsure: FaceClassifier, noisy: Split) -> None:
    report = evaluate(unsure, "unsure", "PublicTest", noisy)
    faces = torch.from_numpy(noisy.images)[:, None] / 255
    logits = unsure.backend.predict(faces).double().numpy()
    assert report.temperature == 2
    served, raw = metrics.softmax(logits, 2), metrics.softmax(logits)
    assert report.ece == pytest.approx(metrics.ece(served, noisy.labels), abs=1e-5)
    assert report.ece_uncalibrated == pytest.approx(metrics.ece(raw, noisy.labels), abs=1e-5)
    assert report.nll == pytest.approx(metrics.nll(served, noisy.labels), abs=1e-5)
    assert report.nll_uncalibrated == pytest.approx(metrics.nll(raw, noisy.labels), abs=1e-5)
    assert report.ece != pytest.approx(report.ece_uncalibrated, abs=1e-3)


def test_views_are_averaged_and_the_single_view_told_apart(unsure: FaceClassifier, noisy: Split) -> None:
    plain = unsure.probabilities(list(noisy.images)).astype(np.float64)
    mirrored = unsure.probabilities(list(np.ascontiguousarray(noisy.images[:, :, ::-1]))).astype(np.float64)
    report = evaluate(unsure, "unsure", "PublicTest", noisy, "mirror")
    assert report.nll == pytest.approx(metrics.nll((plain + mirrored) / 2, noisy.labels))
    assert report.single_view is not None
    alone = evaluate(unsure, "unsure", "PublicTest", noisy)
    assert report.single_view.nll == alone.nll
    assert report.single_view.accuracy_ci95 == alone.accuracy_ci95
    assert report.nll != alone.nll


def test_on_the_split_of_the_calibration_figures_are_cross_fitted_too(unsure: FaceClassifier, noisy: Split) -> None:
    report = evaluate(unsure, "unsure", "PublicTest", noisy)
    logits = unsure.backend.predict(torch.from_numpy(noisy.images)[:, None] / 255).double().numpy()
    crossed = calibration.cross_fitted(logits, noisy.labels)
    assert report.ece_cross_fitted == pytest.approx(metrics.ece(crossed, noisy.labels), abs=1e-5)
    assert report.nll_cross_fitted == pytest.approx(metrics.nll(crossed, noisy.labels), abs=1e-5)
    assert report.ece_classwise_cross_fitted == pytest.approx(metrics.classwise_ece(crossed, noisy.labels), abs=1e-5)
    assert report.reliability_cross_fitted is not None
    by_class = metrics.class_reliability(crossed, noisy.labels)
    assert [f.ece for f in report.class_reliability.values()] == pytest.approx([f.ece for f in by_class], abs=1e-5)
    # In-sample, a temperature looks better than it is.
    assert report.nll_cross_fitted is not None
    best = calibration.fit_temperature(logits, noisy.labels)
    assert metrics.nll(metrics.softmax(logits, best), noisy.labels) < report.nll_cross_fitted


def test_elsewhere_nothing_needs_cross_fitting(unsure: FaceClassifier, noisy: Split) -> None:
    report = evaluate(unsure, "unsure", "PrivateTest", noisy, "mirror")
    assert (report.ece_cross_fitted, report.nll_cross_fitted, report.reliability_cross_fitted) == (None, None, None)
    assert report.single_view is not None
    assert report.single_view.ece_cross_fitted is None
    served = predict_views(unsure, noisy.images, "mirror").mean(axis=0)
    assert list(report.class_reliability.values()) == metrics.class_reliability(served, noisy.labels)


@pytest.mark.parametrize(
    ("kind", "sha256", "split", "trained", "fitted"),
    [
        ("fer2013", "b", "PublicTest", {"data_sha256": "a"}, True),  # plain or packed, the same faces
        ("icml", "b", "PublicTest", {"data_sha256": "a", "data_set": {"kind": "fer2013"}}, True),
        ("fer2013", "b", "PublicTest", {}, True),
        ("folders", "b", "PublicTest", {"data_sha256": "a"}, False),
        ("folders", "a", "PublicTest", {"data_sha256": "a", "data_set": {"kind": "folders"}}, True),
        ("fer2013", "b", "PublicTest", {"data_sha256": "a", "data_set": {"kind": "folders"}}, False),
        ("fer2013", "a", "PrivateTest", {"data_sha256": "a"}, False),
        ("folders", "a", "PublicTest", {"selection": {"data_sha256": "a"}}, True),  # of an ensemble
        ("folders", "b", "PublicTest", {"selection": {"data_sha256": "a"}}, False),
        ("folders", "a", "PublicTest", {"data_sha256": "a", "selection": "best epoch"}, True),
    ],
)
def test_a_calibration_was_fitted_on_faces_of_its_own_data(
    kind: DataKind, sha256: str, split: str, trained: dict[str, Any], fitted: bool
) -> None:
    assert fitted_on(FaceData({}, {}, sha256, kind), split, trained) == fitted


def test_the_temperature_of_several_views_is_fitted_on_the_first(unsure: FaceClassifier, noisy: Split) -> None:
    report = evaluate(unsure, "unsure", "PublicTest", noisy, "mirror")
    alone = evaluate(unsure, "unsure", "PublicTest", noisy)
    assert report.single_view is not None
    assert report.single_view.nll_cross_fitted == alone.nll_cross_fitted
    raw = np.log(predict_views(unsure, noisy.images, "mirror")) * 2
    even = np.arange(80) % 2 == 0
    expected = np.empty((80, 7))
    for half in (even, ~even):
        temperature = calibration.fit_temperature(raw[0, ~half], noisy.labels[~half])
        expected[half] = (metrics.softmax(raw[0, half], temperature) + metrics.softmax(raw[1, half], temperature)) / 2
    assert report.nll_cross_fitted == pytest.approx(metrics.nll(expected, noisy.labels), abs=1e-6)


def test_a_split_without_faces_is_refused_by_name(classifier: FaceClassifier, faces: Split) -> None:
    with pytest.raises(MediaError, match="PrivateTest: no faces"):
        evaluate(classifier, "fake", "PrivateTest", faces.take(np.empty(0, np.int64)))
