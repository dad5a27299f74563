"""Judge a classifier on a split through the same door as users: `affect.load_backend(...)`."""

from dataclasses import asdict, dataclass

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect.pictures import FaceClassifier
from affect_training.data import Split
from affect_training.evaluation import metrics
from affect_training.evaluation.metrics import Floats, Labels, ReliabilityBin
from affect_training.evaluation.tta import Tta, predict_views

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SingleView:
    """The main figures without test-time augmentation."""

    accuracy: float
    accuracy_ci95: Interval
    macro_f1: float
    macro_recall: float
    ece: float
    nll: float


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one backend on one split with one kind of test-time augmentation.

    Attributes:
        backend: Name or path.
        split: Name of the split.
        tta: `none | mirror | shift | shift-mirror`; all but `single_view` is of this kind.
        n: Faces.
        temperature: Of the backend; every view's logits were divided by it.
        ece: Of the probabilities as served; `ece_uncalibrated` and `nll_uncalibrated` are at temperature 1.
        ece_classwise: Mean calibration error of each class against the rest.
        per_class: Emotion -> n, precision, recall, f1, specificity.
        confusion: Counts, rows labels, columns guesses; `confusion_normalised` has the shares of each row.
        reliability: Bars of the reliability diagram, as served and at temperature 1.
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
    ece: float
    ece_uncalibrated: float
    ece_classwise: float
    nll: float
    nll_uncalibrated: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    confusion_normalised: list[list[float]]
    reliability: list[ReliabilityBin]
    reliability_uncalibrated: list[ReliabilityBin]
    single_view: SingleView | None

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def evaluate(classifier: FaceClassifier, name: str, split_name: str, split: Split, tta: Tta = "none") -> Report:
    """Classify a whole split and judge the answers.

    Args:
        classifier: From `affect.load_backend`.
        name: What to call it.
        split_name: What to call the split.
        split: Faces and labels.
        tta: `none` for a single view; `mirror`, `shift` or `shift-mirror` for the mean over two, five or ten views.

    Raises:
        MediaError: The split is empty.
        BackendError: The backend failed on a face.
    """
    views = predict_views(classifier, split.images, tta)
    return judge(views, split.labels, name, split_name, tta, temperature=classifier.backend.temperature)


def judge(
    views: Floats, labels: Labels, name: str, split_name: str, tta: Tta = "none", *, temperature: float = 1.0
) -> Report:
    """Judge answers that are already there.

    Args:
        views: Calibrated probabilities [views, N, 7] of `predict_views`.
        labels: The truth [N].
        name: What to call the backend.
        split_name: What to call the split.
        tta: The kind of the views.
        temperature: What the logits were divided by.

    Raises:
        MediaError: There are no faces.
    """
    if not len(labels):
        raise MediaError(f"{split_name}: no faces to evaluate on")
    served = views.mean(axis=0)
    raw = metrics.without_temperature(views.reshape(-1, views.shape[-1]), temperature).reshape(views.shape).mean(axis=0)
    counts = metrics.confusion(served.argmax(1), labels, len(EMOTIONS))
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
        temperature=temperature,
        ece=metrics.ece(served, labels),
        ece_uncalibrated=metrics.ece(raw, labels),
        ece_classwise=metrics.classwise_ece(served, labels),
        nll=metrics.nll(served, labels),
        nll_uncalibrated=metrics.nll(raw, labels),
        per_class={
            emotion.value: asdict(figures) for emotion, figures in zip(EMOTIONS, metrics.per_class(counts), strict=True)
        },
        confusion=counts.tolist(),
        confusion_normalised=metrics.normalised(counts).tolist(),
        reliability=metrics.reliability(served, labels),
        reliability_uncalibrated=metrics.reliability(raw, labels),
        single_view=_single(views[0], labels) if len(views) > 1 else None,
    )


def _single(probabilities: Floats, labels: Labels) -> SingleView:
    return SingleView(
        accuracy=metrics.accuracy(probabilities, labels),
        accuracy_ci95=metrics.bootstrap_ci95(probabilities.argmax(1) == labels),
        macro_f1=metrics.macro_f1(probabilities, labels),
        macro_recall=metrics.macro_recall(probabilities, labels),
        ece=metrics.ece(probabilities, labels),
        nll=metrics.nll(probabilities, labels),
    )
