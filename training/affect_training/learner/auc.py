"""Areas under the ROC curve that tell states from people: pooled, per person, and with the person's mean removed.

Labels of whole clips are weak and mostly negative, so accuracy says nothing. A pooled AUC rewards knowing who tends to
be bored; only the other two say whether a change of state is seen. Intervals resample people, never faces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affect.labels import LearnerState
from affect.settings.fit import StateFigures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Interval = tuple[float, float]

DIGITS = 5
"""Figures are rounded to this; their intervals are some hundredths wide."""

JUDGED = (
    LearnerState.BOREDOM,
    LearnerState.ENGAGEMENT,
    LearnerState.CONFUSION,
    LearnerState.FRUSTRATION,
)
"""The states that are labelled with levels 0-3."""


@dataclass(frozen=True, slots=True)
class Target:
    """What counts: positive [N], and which faces count at all [N]."""

    positive: Bools
    counts: Bools


def target(levels: Ints, state: LearnerState) -> Target:
    """Turn levels 0-3 into classes: 2-3 against 0, level 1 left out; engagement, which is rarely low: 3 against all."""
    if state is LearnerState.ENGAGEMENT:
        return Target(levels == 3, np.ones(len(levels), bool))
    return Target(levels >= 2, levels != 1)


def auc(positive: Bools, score: Floats) -> float | None:
    """Return the probability that a positive scores above a negative, ties half; None without both."""
    ones, zeros = np.sort(score[positive]), np.sort(score[~positive])
    if len(ones) == 0 or len(zeros) == 0:
        return None
    below = np.searchsorted(zeros, ones, "left").sum(dtype=np.float64)
    up_to = np.searchsorted(zeros, ones, "right").sum(dtype=np.float64)
    return round(float((below + up_to) / 2 / (len(ones) * len(zeros))), DIGITS)


def centred(score: Floats, people: Ints) -> Floats:
    """Remove from each score the mean of its person."""
    count = np.bincount(people)
    means = np.bincount(people, score) / np.maximum(count, 1)
    return np.asarray(score - means[people])


def wins(positive: Bools, score: Floats, people: Ints, count: int) -> Floats:
    """Return [P, P]: how often a positive of person a scores above a negative of person b, ties half."""
    table = np.zeros((count, count))
    for b in np.unique(people[~positive]):
        zeros = np.sort(score[~positive & (people == b)])
        below = np.searchsorted(zeros, score[positive], "left") + np.searchsorted(zeros, score[positive], "right")
        table[:, b] = np.bincount(people[positive], below / 2, minlength=count)
    return table


def resampled(positive: Bools, score: Floats, people: Ints, draws: Ints) -> Interval | None:
    """Return the 95 % interval of the pooled AUC when people are drawn with replacement.

    Args:
        positive, score, people: Of the faces that count.
        draws: [R, P]: how often each person is in each resample.
    """
    count = draws.shape[1]
    ones = np.bincount(people[positive], minlength=count).astype(np.float64)
    zeros = np.bincount(people[~positive], minlength=count).astype(np.float64)
    table = wins(positive, score, people, count)
    pairs = (draws @ ones) * (draws @ zeros)
    values = np.einsum("ra,ab,rb->r", draws, table, draws, optimize=True)[pairs > 0] / pairs[pairs > 0]
    return interval(values)


def interval(values: Floats) -> Interval | None:
    """Return the 2.5th and 97.5th percentile; None of nothing."""
    if len(values) == 0:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), DIGITS), round(float(high), DIGITS)


def figures(
    scores: Mapping[LearnerState, Floats],
    levels: Mapping[LearnerState, Ints],
    people: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> StateFigures:
    """Score every judged state.

    Args:
        scores: By state [N]; higher means more of it.
        levels: By state [N], 0-3.
        people: Whose face each is [N].
        resamples: Of the bootstrap over people.
        seed: Of the bootstrap.
    """
    names, index = np.unique(np.asarray(people), return_inverse=True)
    who = index.astype(np.int64)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples).astype(np.int64)
    rows = {state: _state(target(levels[state], state), scores[state], who, draws) for state in JUDGED}
    return StateFigures(
        auc={state: row.pooled[0] for state, row in rows.items()},
        auc_ci95={state: row.pooled[1] for state, row in rows.items()},
        auc_per_person={state: row.per_person[0] for state, row in rows.items()},
        auc_per_person_ci95={state: row.per_person[1] for state, row in rows.items()},
        auc_within_person={state: row.within[0] for state, row in rows.items()},
        auc_within_person_ci95={state: row.within[1] for state, row in rows.items()},
        faces=len(who),
        people=len(names),
    )


_Figure = tuple[float | None, Interval | None]


@dataclass(frozen=True, slots=True)
class _Row:
    pooled: _Figure
    per_person: _Figure
    within: _Figure


def _state(wanted: Target, score: Floats, people: Ints, draws: Ints) -> _Row:
    y, s, who = wanted.positive[wanted.counts], score[wanted.counts], people[wanted.counts]
    inside = centred(s, who)
    own = {int(k): value for k in np.unique(who) if (value := auc(y[who == k], s[who == k])) is not None}
    return _Row(
        (auc(y, s), resampled(y, s, who, draws)),
        (round(float(np.mean(list(own.values()))), DIGITS) if own else None, _mean_interval(own, draws)),
        (auc(y, inside), resampled(y, inside, who, draws)),
    )


def _mean_interval(own: Mapping[int, float], draws: Ints) -> Interval | None:
    if not own:
        return None
    times = draws[:, list(own)]
    some = times.sum(axis=1) > 0
    return interval((times @ np.array(list(own.values())))[some] / times.sum(axis=1)[some])
