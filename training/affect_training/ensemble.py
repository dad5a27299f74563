"""Finding an ensemble on validation faces: in which order members help, with which weights, how sure the gain is.

Weights and order are found on the very faces they are judged on, so their figures flatter. What can be said without
flattery is cross-fitted: found on one half of the faces, judged on the other, both ways round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from affect.errors import SettingsError
from affect.inference import voting
from affect.inference.voting import Vote
from affect_training.evaluation import metrics
from affect_training.evaluation.calibration import cross_fitted, fit_temperature
from affect_training.evaluation.metrics import Floats, Labels

Indices = Sequence[int]

DRAWS = 2000
CONCENTRATIONS = (1.0, 4.0, 16.0)
"""Of the Dirichlet distributions that weights are drawn from: 1 is even, more is nearer to equal weights."""

_CHUNK = 32
"""Draws judged at once: 32 x 3,588 faces x 7 classes are 6 MB."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A vote on the validation faces. NLL and ECE are of temperatures fitted on the other half of the faces."""

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_f1: float
    macro_recall: float
    nll: float
    ece: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much more of the faces the weighted vote of all members is right than the soft one, with 95 % intervals.

    Attributes:
        found: On the faces the weights were searched on; flatters.
        cross_fitted: Searched on one half, judged on the other, both ways round.
    """

    found: float
    found_ci95: tuple[float, float]
    cross_fitted: float
    cross_fitted_ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What was found.

    Attributes:
        vote: The kind that was asked for.
        order: Members by usefulness; those of weight 0 are left out.
        weights: Of the members in that order; all 1 unless the vote is weighted.
        prefixes: Figures of the first 1, 2, ... members in that order.
        single: Figures of each member alone, in the order they were given.
        votes: Figures of every kind of vote of all members.
        searched: The weights of the search, in the order the members were given; None without one.
        gain: Of the searched weights of all members over equal ones; None without a search, or when some were left out.
    """

    vote: Vote
    order: tuple[int, ...]
    weights: tuple[float, ...]
    prefixes: tuple[Figures, ...]
    single: tuple[Figures, ...]
    votes: dict[Vote, Figures]
    searched: tuple[float, ...] | None
    gain: Gain | None


def voted(probabilities: Floats, weights: Floats, vote: Vote) -> Floats:
    """Let members vote by `affect.inference.voting.voted`, as the backend `ensemble` does.

    Args:
        probabilities: [M, N, 7], calibrated.
        weights: [M], used by the weighted vote.
        vote: The kind.

    Returns:
        [N, 7], rows sum to 1.
    """
    return np.asarray(voting.voted(torch.from_numpy(probabilities), weights.tolist(), vote).numpy())


def figures(probabilities: Floats, labels: Labels) -> Figures:
    """Judge a vote's probabilities [N, 7]."""
    logits = np.log(np.clip(probabilities, 1e-9, None))
    calibrated = cross_fitted(logits, labels)
    right = probabilities.argmax(1) == labels
    return Figures(
        n=len(labels),
        accuracy=float(right.mean()),
        accuracy_ci95=metrics.bootstrap_ci95(right),
        macro_f1=metrics.macro_f1(probabilities, labels),
        macro_recall=metrics.macro_recall(probabilities, labels),
        nll=metrics.nll(calibrated, labels),
        ece=metrics.ece(calibrated, labels),
        temperature=fit_temperature(logits, labels),
    )


def find(probabilities: Floats, labels: Labels, *, vote: Vote = "soft", draws: int = DRAWS, seed: int = 0) -> Ensemble:
    """Find an ensemble.

    Args:
        probabilities: [M, N, 7] of M >= 2 members, calibrated.
        labels: The truth [N].
        vote: The kind to configure; all kinds are judged.
        draws: Random weights to try; 0 searches none.
        seed: Of the search and of the halves.

    Raises:
        SettingsError: Fewer than two members, or a weighted vote without a search.
    """
    count = len(probabilities)
    if count < 2:
        raise SettingsError(f"an ensemble has at least two members, got {count}")
    if vote == "weighted" and not draws:
        raise SettingsError("a weighted vote needs a search for its weights; give it draws")
    equal = np.ones(count)
    votes: dict[Vote, Figures] = {"soft": figures(voted(probabilities, equal, "soft"), labels)}
    searched, gain = None, None
    if draws:
        searched = search_weights(probabilities, labels, draws=draws, seed=seed)
        votes["weighted"] = figures(voted(probabilities, searched, "weighted"), labels)
        gain = gain_of(probabilities, labels, searched, draws=draws, seed=seed)
    votes["majority"] = figures(voted(probabilities, equal, "majority"), labels)
    weights = searched if vote == "weighted" and searched is not None else equal
    order = order_by_usefulness(probabilities, labels, weights, vote)
    return Ensemble(
        vote=vote,
        order=order,
        weights=tuple(float(weights[k]) for k in order),
        prefixes=tuple(
            figures(_vote_of(probabilities, weights, vote, order[: k + 1]), labels) for k in range(len(order))
        ),
        single=tuple(figures(member, labels) for member in probabilities),
        votes=votes,
        searched=None if searched is None else tuple(float(weight) for weight in searched),
        gain=gain,
    )


def best_prefix(found: Ensemble) -> int:
    """Return how many members make the most accurate prefix; of equal ones the fewest."""
    return max(range(1, len(found.prefixes) + 1), key=lambda count: (found.prefixes[count - 1].accuracy, -count))


def keep_first(found: Ensemble, count: int) -> Ensemble:
    """Return the ensemble of the first members alone; the figures of all stay for the reader, a gain is not theirs."""
    return replace(
        found,
        order=found.order[:count],
        weights=found.weights[:count],
        prefixes=found.prefixes[:count],
        gain=found.gain if count >= len(found.order) else None,
    )


def judged_by(found: Ensemble, probabilities: Floats, labels: Labels) -> Ensemble:
    """Return the ensemble with the figures and temperatures of its members' other answers, say those to fewer views.

    A gain is that of the answers it was found on, and goes.

    Args:
        found: The ensemble.
        probabilities: [M, N, 7] of all members, in the order they were given.
        labels: The truth [N].
    """
    weights = np.zeros(len(probabilities))
    weights[list(found.order)] = found.weights
    prefixes = tuple(
        figures(_vote_of(probabilities, weights, found.vote, found.order[: k + 1]), labels)
        for k in range(len(found.order))
    )
    return replace(found, prefixes=prefixes, gain=None)


def order_by_usefulness(probabilities: Floats, labels: Labels, weights: Floats, vote: Vote) -> tuple[int, ...]:
    """Order members by greedy forward selection (Caruana 2004), each member once.

    The first is the best alone, each next one the one that makes the vote of those before and itself best: most right,
    among equals least NLL. Members of weight 0 are left out.
    """
    left = [k for k in range(len(probabilities)) if weights[k] > 0]
    order: list[int] = []
    while left:
        best = max(left, key=lambda k: _score(_vote_of(probabilities, weights, vote, [*order, k]), labels))
        order.append(best)
        left.remove(best)
    return tuple(order)


def search_weights(probabilities: Floats, labels: Labels, *, draws: int, seed: int) -> Floats:
    """Search weights at random: Dirichlet draws, a third each even over all that sum to 1, near and nearer equal ones.

    Of many members even draws hardly ever come near equal weights, where the best often are. Equal weights and each
    member alone are tried too, so that the result is never worse than these on the faces it was searched on.

    Returns:
        [M], summing to 1: most faces right, among equals least NLL.
    """
    count = len(probabilities)
    rng = np.random.default_rng(seed)
    drawn = [rng.dirichlet(np.full(count, CONCENTRATIONS[k % 3])) for k in range(draws)]
    tried = np.concatenate([np.full((1, count), 1 / count), np.eye(count), np.reshape(drawn, (-1, count))])
    flat = probabilities.reshape(count, -1)
    rows = np.arange(len(labels))
    scores: list[tuple[float, float]] = []
    for start in range(0, len(tried), _CHUNK):
        mixed = (tried[start : start + _CHUNK] @ flat).reshape(-1, len(labels), probabilities.shape[2])
        right = (mixed.argmax(2) == labels).mean(1)
        likelihood = np.log(np.clip(mixed[:, rows, labels], 1e-12, None)).mean(1)
        scores += zip(right.tolist(), likelihood.tolist(), strict=True)
    return np.asarray(tried[max(range(len(tried)), key=scores.__getitem__)])


def gain_of(probabilities: Floats, labels: Labels, weights: Floats, *, draws: int, seed: int) -> Gain:
    """Compare the weighted vote with the soft one, face by face.

    Args:
        probabilities: [M, N, 7].
        labels: The truth [N].
        weights: Found by a search on all these faces.
        draws: Of the searches on the halves.
        seed: Of the halves and their searches.
    """
    soft = _right(voted(probabilities, weights, "soft"), labels)
    found = _right(voted(probabilities, weights, "weighted"), labels) - soft
    crossed = np.empty_like(soft)
    first = np.zeros(len(labels), np.bool_)
    first[np.random.default_rng(seed).permutation(len(labels))[: len(labels) // 2]] = True
    for half in (first, ~first):
        fitted = search_weights(probabilities[:, half], labels[half], draws=draws, seed=seed)
        crossed[~half] = _right(voted(probabilities[:, ~half], fitted, "weighted"), labels[~half])
    crossed -= soft
    return Gain(
        float(found.mean()), metrics.bootstrap_ci95(found), float(crossed.mean()), metrics.bootstrap_ci95(crossed)
    )


def _vote_of(probabilities: Floats, weights: Floats, vote: Vote, chosen: Indices) -> Floats:
    return voted(probabilities[list(chosen)], weights[list(chosen)], vote)


def _score(probabilities: Floats, labels: Labels) -> tuple[float, float]:
    return metrics.accuracy(probabilities, labels), -metrics.nll(probabilities, labels)


def _right(probabilities: Floats, labels: Labels) -> Floats:
    return np.asarray(probabilities.argmax(1) == labels, np.float64)
