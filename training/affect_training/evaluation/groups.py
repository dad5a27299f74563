"""The same figures for each group of people the data names, and how far apart the groups are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect_training.evaluation import metrics
from affect_training.evaluation.metrics import Floats, Labels


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One group: faces, accuracy and macro recall (over the classes that occur in it) with 95 % intervals."""

    group: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_recall: float
    macro_recall_ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class GroupReport:
    """All groups, in the order of their names; faces without one are in none.

    Attributes:
        groups: Figures of each group.
        accuracy_gap: Best minus worst accuracy of a group.
        accuracy_gap_p: Share of random regroupings (same sizes) with a gap at least as large. Small groups differ by
            chance: a gap without a small p says little.
        macro_recall_gap: Best minus worst macro recall.
        without: Faces whose group is not known.
    """

    groups: tuple[GroupFigures, ...]
    accuracy_gap: float
    accuracy_gap_p: float
    macro_recall_gap: float
    without: int = 0


def by_group(
    probabilities: Floats, labels: Labels, groups: Sequence[str] | None, *, permutations: int = 2000, seed: int = 0
) -> GroupReport:
    """Judge each group apart.

    Args:
        probabilities: [N, 7].
        labels: The truth [N].
        groups: Name of each face's group; "" where it is not known.
        permutations: Random regroupings for the gap's p.
        seed: Of the regroupings.

    Raises:
        MediaError: The data names no groups, or no faces.
    """
    known = np.asarray(groups or (), dtype=str) != ""
    if groups is None or not known.any():
        raise MediaError("these faces name no groups; a per-group report needs a column or list with a group per face")
    names, member = np.unique(np.asarray(groups, dtype=str)[known], return_inverse=True)
    guess, labels = probabilities.argmax(1)[known], labels[known]
    figures = []
    for k, name in enumerate(names.tolist()):
        inside = member == k
        counts = metrics.confusion(guess[inside], labels[inside], len(EMOTIONS))
        figures.append(
            GroupFigures(
                group=name,
                n=int(inside.sum()),
                accuracy=float(metrics.accuracy_of(counts)),
                accuracy_ci95=metrics.counts_ci95(counts, metrics.accuracy_of),
                macro_recall=float(metrics.macro_recall_of(counts)),
                macro_recall_ci95=metrics.counts_ci95(counts, metrics.macro_recall_of),
            )
        )
    gap = _range([group.accuracy for group in figures])
    return GroupReport(
        groups=tuple(figures),
        accuracy_gap=gap,
        accuracy_gap_p=_gap_p(guess == labels, member, gap, permutations, seed),
        macro_recall_gap=_range([group.macro_recall for group in figures]),
        without=int((~known).sum()),
    )


def _range(values: list[float]) -> float:
    return max(values) - min(values)


def _gap_p(right: NDArray[np.bool_], member: NDArray[np.int_], gap: float, permutations: int, seed: int) -> float:
    """Permutation test; the observed grouping counts as one of the regroupings (Phipson & Smyth 2010)."""
    rng = np.random.default_rng(seed)
    sizes = np.bincount(member)
    at_least = 1
    for _ in range(permutations):
        accuracies = np.bincount(member, rng.permutation(right)) / sizes
        at_least += bool(accuracies.max() - accuracies.min() >= gap - 1e-12)
    return at_least / (permutations + 1)
