import json

import numpy as np
import pytest
import torch
from affect_training.data import Split
from affect_training.evaluation import metrics
from affect_training.evaluation.report import evaluate, judge

from affect.errors import MediaError
from affect.inference.device import Device
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


def test_a_split_without_faces_is_refused_by_name(classifier: FaceClassifier, faces: Split) -> None:
    with pytest.raises(MediaError, match="PrivateTest: no faces"):
        evaluate(classifier, "fake", "PrivateTest", faces.take(np.empty(0, np.int64)))


def test_judging_kept_answers_is_evaluating(classifier: FaceClassifier, faces: Split) -> None:
    views = classifier.probabilities(list(faces.images)).astype(np.float64)[None]
    assert judge(views, faces.labels, "fake", "PublicTest") == evaluate(classifier, "fake", "PublicTest", faces)
