"""Is a difference more than chance? Two models on the same faces, and one recipe under several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2

from affect_training.evaluation.metrics import bootstrap_ci95

EXACT_BELOW = 25
"""Discordant faces below which the chi-square is too coarse and the exact test takes its place (the usual rule)."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of two models on the same faces.

    Attributes:
        only_first: Faces that only the first model gets right.
        only_second: Faces that only the second gets right.
        statistic: Chi-square with continuity correction; None when the test was exact.
        p: Two-sided probability of so uneven a split, were the models equally good.
        method: `exact binomial` or `chi2`.
        difference: Accuracy of the first minus that of the second.
        difference_ci95: Its interval, faces resampled in pairs.
    """

    only_first: int
    only_second: int
    statistic: float | None
    p: float
    method: str
    difference: float
    difference_ci95: tuple[float, float]


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Test whether two models differ.

    Args:
        first: For each face, whether the first model was right.
        second: The same for the second model, in the same order.

    Raises:
        ValueError: The two are not of the same faces.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected answers to the same faces, got {len(first)} and {len(second)}")
    b, c = int(np.sum(first & ~second)), int(np.sum(~first & second))
    statistic: float | None = None
    if b + c < EXACT_BELOW:
        method = "exact binomial"
        p = float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
    else:
        method = "chi2"
        statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
        p = float(chi2.sf(statistic, 1))
    difference = first.astype(np.float64) - second.astype(np.float64)
    return McNemar(b, c, statistic, p, method, float(difference.mean()), bootstrap_ci95(difference))


@dataclass(frozen=True, slots=True)
class MeanSd:
    """Mean and sample standard deviation over runs; the deviation is None of a single run."""

    mean: float
    sd: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.sd is None else f"{self.mean:.4f} +- {self.sd:.4f}"


def mean_sd(values: Sequence[float]) -> MeanSd:
    """Summarise the same figure of several runs (deviation with n - 1).

    Raises:
        ValueError: No values.
    """
    if not values:
        raise ValueError("expected at least one value")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanSd(float(np.mean(values)), sd, len(values))
