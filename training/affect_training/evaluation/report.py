"""Judge the answers of a classifier on a split, as users get them: those of `evaluation.tta.predict_views`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect.types import Calibration
from affect_training.data.faces import FER2013, FaceData
from affect_training.evaluation import calibration as calibrating
from affect_training.evaluation import metrics
from affect_training.evaluation.calibration import uncalibrated
from affect_training.evaluation.metrics import ClassReliability, Floats, Labels, ReliabilityBin
from affect_training.evaluation.tta import Tta

Interval = tuple[float, float]

FITTED_ON = "PublicTest"
"""The split that calibrations are fitted on: judged on the same faces they flatter, so there figures are cross-fitted
too."""


@dataclass(frozen=True, slots=True)
class SingleView:
    """The main figures without test-time augmentation; calibration also cross-fitted where `Report` has it so."""

    accuracy: float
    accuracy_ci95: Interval
    macro_f1: float
    macro_recall: float
    ece: float
    nll: float
    ece_cross_fitted: float | None = None
    nll_cross_fitted: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one backend on one split with one kind of test-time augmentation.

    Attributes:
        backend: Name or path.
        split: Name of the split.
        tta: One of `evaluation.tta.KINDS`; all but `single_view` is of this kind.
        n: Faces.
        temperature, power: The backend's calibration, of every view.
        ece, nll: Of the probabilities as served; with `_uncalibrated` without it; with `_cross_fitted` each half of the
            faces calibrated by the other. The last are None but on the split that calibrations are fitted on, where the
            first flatter.
        ece_classwise: Mean calibration error of each class against the rest, as served; likewise cross-fitted.
        per_class: Emotion -> n, precision, recall, f1, specificity.
        class_reliability: Emotion -> guesses, their confidence, the share that is right, calibration error;
            cross-fitted where the others are.
        confusion: Counts, rows labels, columns guesses; `confusion_normalised` has the shares of each row.
        reliability: Bars of the reliability diagram, as served, uncalibrated, and cross-fitted.
        single_view: The same faces without augmentation, where there is some.
    """

    backend: str
    split: str
    tta: str
    n: int
    accuracy: float
    accuracy_ci95: Interval
    macro_f1: float
    macro_f1_ci95: Interval
    macro_recall: float
    macro_recall_ci95: Interval
    kappa: float
    kappa_ci95: Interval
    temperature: float
    power: float
    ece: float
    ece_uncalibrated: float
    ece_cross_fitted: float | None
    ece_classwise: float
    ece_classwise_cross_fitted: float | None
    nll: float
    nll_uncalibrated: float
    nll_cross_fitted: float | None
    per_class: dict[str, dict[str, float]]
    class_reliability: dict[str, ClassReliability]
    confusion: list[list[int]]
    confusion_normalised: list[list[float]]
    reliability: list[ReliabilityBin]
    reliability_uncalibrated: list[ReliabilityBin]
    reliability_cross_fitted: list[ReliabilityBin] | None
    single_view: SingleView | None

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def fitted_on(data: FaceData, split_name: str, trained: Mapping[str, Any]) -> bool:
    """Whether a backend's calibration was fitted on a split of these data; another set's is judged as it is served.

    Args:
        data: The faces at hand. FER2013 comes in files of several sums, and counts by its name.
        split_name: Of the split.
        trained: `training` of the backend's sidecar, or `selection` of an ensemble's manifest; one that says nothing of
            its data is held to be of FER2013.
    """
    if split_name != FITTED_ON:
        return False
    chosen = trained.get("selection")  # of an ensemble
    if isinstance(chosen, Mapping):
        trained = chosen
    own = trained.get("data_set")
    kind = own.get("kind") if isinstance(own, Mapping) else None
    return trained.get("data_sha256") == data.sha256 or (data.is_fer2013 and (kind is None or kind in FER2013))


def cross_fitted(raw: Floats, labels: Labels, *, fitted: bool, power: bool = False) -> Floats | None:
    """Return the mean answers [N, 7], each half calibrated by the other; None where that is not needed.

    Args:
        raw: Uncalibrated probabilities [views, N, 7].
        labels: The truth [N].
        fitted: The calibration was fitted on these faces; elsewhere the served answers are honest.
        power: The calibration has one.
    """
    if not fitted or len(labels) < 2:
        return None
    return calibrating.cross_fitted(np.log(np.clip(raw, 1e-45, None)), labels, power=power)


def judge(
    views: Floats,
    labels: Labels,
    name: str,
    split_name: str,
    tta: Tta = "none",
    *,
    calibration: Calibration | None = None,
    fitted: bool = False,
) -> Report:
    """Judge answers that are already there.

    Args:
        views: Calibrated probabilities [views, N, 7] of `predict_views`.
        labels: The truth [N].
        name: What to call the backend.
        split_name: What to call the split.
        tta: The kind of the views.
        calibration: How they were calibrated; not at all when not given.
        fitted: That calibration was fitted on these faces (`fitted_on`).

    Raises:
        MediaError: There are no faces.
    """
    if not len(labels):
        raise MediaError(f"{split_name}: no faces to evaluate on")
    served = views.mean(axis=0)
    calibration = calibration or Calibration()
    power = calibration.power != 1
    raw_views = uncalibrated(views.reshape(-1, views.shape[-1]), calibration).reshape(views.shape)
    raw, crossed = raw_views.mean(axis=0), cross_fitted(raw_views, labels, fitted=fitted, power=power)
    counts = metrics.confusion(served.argmax(1), labels, len(EMOTIONS))
    by_class = metrics.class_reliability(served if crossed is None else crossed, labels)
    return Report(
        backend=name,
        split=split_name,
        tta=tta,
        n=len(labels),
        accuracy=metrics.accuracy(served, labels),
        accuracy_ci95=metrics.bootstrap_ci95(served.argmax(1) == labels),
        macro_f1=metrics.macro_f1(served, labels),
        macro_f1_ci95=metrics.counts_ci95(counts, metrics.macro_f1_of),
        macro_recall=metrics.macro_recall(served, labels),
        macro_recall_ci95=metrics.counts_ci95(counts, metrics.macro_recall_of),
        kappa=metrics.cohens_kappa(served, labels),
        kappa_ci95=metrics.counts_ci95(counts, metrics.cohens_kappa_of),
        temperature=calibration.temperature,
        power=calibration.power,
        ece=metrics.ece(served, labels),
        ece_uncalibrated=metrics.ece(raw, labels),
        ece_cross_fitted=None if crossed is None else metrics.ece(crossed, labels),
        ece_classwise=metrics.classwise_ece(served, labels),
        ece_classwise_cross_fitted=None if crossed is None else metrics.classwise_ece(crossed, labels),
        nll=metrics.nll(served, labels),
        nll_uncalibrated=metrics.nll(raw, labels),
        nll_cross_fitted=None if crossed is None else metrics.nll(crossed, labels),
        per_class={
            emotion.value: asdict(figures) for emotion, figures in zip(EMOTIONS, metrics.per_class(counts), strict=True)
        },
        class_reliability=dict(zip((e.value for e in EMOTIONS), by_class, strict=True)),
        confusion=counts.tolist(),
        confusion_normalised=metrics.normalised(counts).tolist(),
        reliability=metrics.reliability(served, labels),
        reliability_uncalibrated=metrics.reliability(raw, labels),
        reliability_cross_fitted=None if crossed is None else metrics.reliability(crossed, labels),
        single_view=_single(views[0], cross_fitted(raw_views[:1], labels, fitted=fitted, power=power), labels)
        if len(views) > 1
        else None,
    )


def _single(probabilities: Floats, crossed: Floats | None, labels: Labels) -> SingleView:
    return SingleView(
        accuracy=metrics.accuracy(probabilities, labels),
        accuracy_ci95=metrics.bootstrap_ci95(probabilities.argmax(1) == labels),
        macro_f1=metrics.macro_f1(probabilities, labels),
        macro_recall=metrics.macro_recall(probabilities, labels),
        ece=metrics.ece(probabilities, labels),
        nll=metrics.nll(probabilities, labels),
        ece_cross_fitted=None if crossed is None else metrics.ece(crossed, labels),
        nll_cross_fitted=None if crossed is None else metrics.nll(crossed, labels),
    )
