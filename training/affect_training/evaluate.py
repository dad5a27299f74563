"""Score a backend on a split of FER2013 through the same door as users: `affect.load_backend(...)`."""

from dataclasses import asdict, dataclass

import numpy as np

from affect.labels import EMOTIONS
from affect.pictures import FaceClassifier
from affect_training import metrics
from affect_training.data import Split


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one backend on one split, single view or mirrored."""

    backend: str
    split: str
    tta: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_f1: float
    ece: float
    nll: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def evaluate(classifier: FaceClassifier, name: str, split_name: str, split: Split, tta: str = "none") -> Report:
    """Classify a whole split.

    Args:
        classifier: From `affect.load_backend`.
        name: What to call it.
        split_name: What to call the split.
        split: Faces and labels.
        tta: `none` for a single view; `mirror` for the mean with the mirrored face.
    """
    images = list(split.images)
    probabilities = classifier.probabilities(images).astype(np.float64)
    if tta == "mirror":
        mirrored = classifier.probabilities([np.ascontiguousarray(image[:, ::-1]) for image in images])
        probabilities = (probabilities + mirrored) / 2
    labels = split.labels
    guess = probabilities.argmax(1)
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
    np.add.at(confusion, (labels, guess), 1)
    per_class = {}
    for k, emotion in enumerate(EMOTIONS):
        hit, said, there = confusion[k, k], confusion[:, k].sum(), confusion[k].sum()
        per_class[emotion.value] = {
            "n": int(there),
            "precision": float(hit / max(said, 1)),
            "recall": float(hit / max(there, 1)),
            "f1": float(2 * hit / max(said + there, 1)),
        }
    return Report(
        backend=name,
        split=split_name,
        tta=tta,
        n=len(labels),
        accuracy=metrics.accuracy(probabilities, labels),
        accuracy_ci95=metrics.bootstrap_ci95(guess == labels),
        macro_f1=metrics.macro_f1(probabilities, labels),
        ece=metrics.ece(probabilities, labels),
        nll=metrics.nll(probabilities, labels),
        per_class=per_class,
        confusion=confusion.tolist(),
    )
