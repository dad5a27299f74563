"""Figures of a classifier from probabilities [N, 7] and labels [N]; every accuracy comes with an interval."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return probabilities [N, K]."""
    z = np.asarray(logits, np.float64) / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


def accuracy(probabilities: Floats, labels: Labels) -> float:
    """Share of faces whose most probable label is the given one."""
    return float((probabilities.argmax(1) == labels).mean())


def macro_f1(probabilities: Floats, labels: Labels) -> float:
    """Unweighted mean over the classes of 2TP / (2TP + FP + FN)."""
    guess = probabilities.argmax(1)
    scores = []
    for k in range(probabilities.shape[1]):
        tp = np.sum((guess == k) & (labels == k))
        wrong = np.sum((guess == k) != (labels == k))
        scores.append(2 * tp / max(2 * tp + wrong, 1))
    return float(np.mean(scores))


def nll(probabilities: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood of the labels."""
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)).mean())


def ece(probabilities: Floats, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): equal-width bins of the top probability."""
    top = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    which = np.minimum((top * bins).astype(int), bins - 1)
    gaps = [
        abs(right[which == b].mean() - top[which == b].mean()) * (which == b).mean()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(np.sum(gaps))


def bootstrap_ci95(values: NDArray[np.bool_] | Floats, *, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean over faces."""
    rng = np.random.default_rng(seed)
    data = np.asarray(values, np.float64)
    means = [data[rng.integers(0, len(data), len(data))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Temperature that minimises the NLL (Guo et al. 2017), by golden-section search on its logarithm."""
    low, high = np.log(0.2), np.log(8.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if nll(softmax(logits, np.exp(a)), labels) < nll(softmax(logits, np.exp(b)), labels):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def cross_fitted(logits: Floats, labels: Labels) -> Floats:
    """Probabilities in which each half of the rows (even, odd) is scaled by the temperature of the other half."""
    even = np.arange(len(labels)) % 2 == 0
    probabilities = np.empty_like(logits)
    for half in (even, ~even):
        probabilities[half] = softmax(logits[half], fit_temperature(logits[~half], labels[~half]))
    return probabilities
