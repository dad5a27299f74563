"""Figures of a classifier from probabilities [N, K] and labels [N]; every accuracy comes with an interval.

What is counted comes from the confusion matrix, what is calibrated from the probabilities. Where a definition has
variants, the docstring says which one, and the tests compare with scikit-learn. Nothing here knows a network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

BINS = 15
"""Bins of the calibration error (Guo et al. 2017)."""


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return probabilities [N, K]."""
    z = np.asarray(logits, np.float64) / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


# Counts


def confusion(guess: Labels, labels: Labels, classes: int) -> Labels:
    """Count [K, K]: rows are the labels, columns the guesses."""
    return np.bincount(labels * classes + guess, minlength=classes * classes).reshape(classes, classes)


def normalised(counts: Labels) -> Floats:
    """Return the shares of each row; a class without faces has a row of zeros."""
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def accuracy(probabilities: Floats, labels: Labels) -> float:
    """Share of faces whose most probable label is the given one."""
    return float((probabilities.argmax(1) == labels).mean())


def macro_f1(probabilities: Floats, labels: Labels) -> float:
    """Unweighted mean over the classes of 2TP / (2TP + FP + FN); 0 for a class never there and never guessed."""
    return float(macro_f1_of(_counts(probabilities, labels)))


def macro_recall(probabilities: Floats, labels: Labels) -> float:
    """Unweighted mean of the recall over the classes that occur (balanced accuracy)."""
    return float(macro_recall_of(_counts(probabilities, labels)))


def cohens_kappa(probabilities: Floats, labels: Labels) -> float:
    """Agreement with the labels beyond what the two histograms give by chance (Cohen 1960); 1 is perfect, 0 chance."""
    return float(cohens_kappa_of(_counts(probabilities, labels)))


def accuracy_of(counts: Labels) -> Floats:
    """Accuracy of confusion counts [..., K, K]."""
    return np.asarray(_diagonal(counts).sum(-1) / np.maximum(counts.sum((-1, -2)), 1))


def macro_f1_of(counts: Labels) -> Floats:
    """Macro-F1 of confusion counts [..., K, K]."""
    both = counts.sum(-1) + counts.sum(-2)
    return np.asarray((2 * _diagonal(counts) / np.maximum(both, 1)).mean(-1))


def macro_recall_of(counts: Labels) -> Floats:
    """Macro recall of confusion counts [..., K, K], over the classes that occur."""
    there = counts.sum(-1)
    recall = _diagonal(counts) / np.maximum(there, 1)
    return np.asarray(recall.sum(-1) / np.maximum((there > 0).sum(-1), 1))


def cohens_kappa_of(counts: Labels) -> Floats:
    """Cohen's kappa of confusion counts [..., K, K]; 0 where chance alone agrees always."""
    total = np.maximum(counts.sum((-1, -2)), 1)
    chance = (counts.sum(-1) / total[..., None] * (counts.sum(-2) / total[..., None])).sum(-1)
    beyond = accuracy_of(counts) - chance
    return np.asarray(np.divide(beyond, 1 - chance, out=np.zeros_like(beyond), where=chance < 1))


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against the rest: faces, precision, recall (sensitivity), F1, specificity; 0 where undefined."""

    n: int
    precision: float
    recall: float
    f1: float
    specificity: float


def per_class(counts: Labels) -> list[ClassFigures]:
    """Judge each class of confusion counts [K, K]."""
    total = int(counts.sum())
    figures = []
    for k in range(len(counts)):
        hit, said, there = int(counts[k, k]), int(counts[:, k].sum()), int(counts[k].sum())
        others = total - there
        figures.append(
            ClassFigures(
                n=there,
                precision=hit / max(said, 1),
                recall=hit / max(there, 1),
                f1=2 * hit / max(said + there, 1),
                specificity=(others - (said - hit)) / max(others, 1),
            )
        )
    return figures


# Intervals


def bootstrap_ci95(values: NDArray[np.bool_] | Floats, *, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean over faces.

    Raises:
        ValueError: No values.
    """
    rng = np.random.default_rng(seed)
    data = np.asarray(values, np.float64)
    means = [data[rng.integers(0, len(data), len(data))].mean() for _ in range(resamples)]
    return _percentiles(np.asarray(means))


def counts_ci95(
    counts: Labels, figure: Callable[[Labels], Floats], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a figure of confusion counts [K, K].

    Faces drawn with replacement fall into the cells as a multinomial, so whole matrices are drawn at once.

    Args:
        counts: As observed.
        figure: From counts [..., K, K] to numbers [...], such as `macro_f1_of`.
        resamples: Matrices drawn.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    total = int(counts.sum())
    drawn = rng.multinomial(total, counts.ravel() / total, size=resamples)
    return _percentiles(figure(drawn.reshape(resamples, *counts.shape)))


# Calibration


def nll(probabilities: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood of the labels."""
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Faces whose top probability lies in [low, high): how sure the classifier was, how often it was right.

    Confidence and accuracy are None in an empty bin.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def reliability(probabilities: Floats, labels: Labels, bins: int = BINS) -> list[ReliabilityBin]:
    """Return the bars of a reliability diagram: equal-width bins of the top probability."""
    top = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    count, sure, hits = _binned(top, right, bins)
    return [
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            n=int(count[b]),
            confidence=float(sure[b] / count[b]) if count[b] else None,
            accuracy=float(hits[b] / count[b]) if count[b] else None,
        )
        for b in range(bins)
    ]


def ece(probabilities: Floats, labels: Labels, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017): equal-width bins of the top probability."""
    _, sure, hits = _binned(probabilities.max(1), probabilities.argmax(1) == labels, bins)
    return float(np.abs(hits - sure).sum() / len(labels))


def classwise_ece(probabilities: Floats, labels: Labels, bins: int = BINS) -> float:
    """Mean over the classes of the calibration error of "is it this class" (Kull et al. 2019, eq. 3)."""
    return float(np.mean(class_eces(probabilities, labels, bins)))


def class_eces(probabilities: Floats, labels: Labels, bins: int = BINS) -> list[float]:
    """Calibration error of "is it this class" over all faces, for each class [K]."""
    gaps = []
    for k in range(probabilities.shape[1]):
        _, sure, hits = _binned(probabilities[:, k], labels == k, bins)
        gaps.append(float(np.abs(hits - sure).sum() / len(labels)))
    return gaps


@dataclass(frozen=True, slots=True)
class ClassReliability:
    """How far the probability of one class can be believed.

    Attributes:
        guessed: Faces it is the guess for.
        confidence, right: Mean probability of those guesses, and the share that is right; None without guesses.
        ece: Calibration error of "is it this class" over all faces.
    """

    guessed: int
    confidence: float | None
    right: float | None
    ece: float


def class_reliability(probabilities: Floats, labels: Labels) -> list[ClassReliability]:
    """Judge the probabilities [N, K] class by class."""
    guess, top = probabilities.argmax(1), probabilities.max(axis=1)
    figures = []
    for k, error in enumerate(class_eces(probabilities, labels)):
        said = guess == k
        sure, right = (float(top[said].mean()), float((labels[said] == k).mean())) if said.any() else (None, None)
        figures.append(ClassReliability(int(said.sum()), sure, right, error))
    return figures


def _counts(probabilities: Floats, labels: Labels) -> Labels:
    return confusion(probabilities.argmax(1), labels, probabilities.shape[1])


def _diagonal(counts: Labels) -> Labels:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _binned(values: Floats, right: NDArray[np.bool_], bins: int) -> tuple[Labels, Floats, Floats]:
    """Return, for each equal-width bin of 0-1: how many values, their sum, how many are right."""
    which = np.minimum((values * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    sums = [np.asarray(np.bincount(which, weights, bins), np.float64) for weights in (values, right.astype(np.float64))]
    return count, sums[0], sums[1]


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
