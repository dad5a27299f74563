"""What an estimator believes of labelled faces and clips: each a session of its own, or all of a person one session."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from affect.labels import STATES, LearnerState, Phase
from affect.learner.estimator import Estimator, HmmEstimator
from affect.learner.model import LearnerModel
from affect.settings.learner import LearnerSettings
from affect.types import FrameFaces
from affect_training.learner.auc import JUDGED, Floats, Ints, target

Sessions = Literal["item", "person"]

STEP_S = 10.0
"""Seconds from one labelled face or clip of a person to the next; DAiSEE's clips are that long."""

HOLD_S = 1.0
"""In a row, a single face stands for its clip: it is shown this often, seconds."""


@dataclass(frozen=True, slots=True)
class Believed:
    """What was believed and told.

    Attributes:
        mean: Mean belief [N, 7] during each item.
        onsets: (number of the item, state) of every onset.
        hours: How long all sessions were.
    """

    mean: Floats
    onsets: tuple[tuple[int, str], ...]
    hours: float

    def scores(self) -> dict[LearnerState, Floats]:
        """Return the beliefs [N] in the states that are labelled."""
        return {state: self.mean[:, STATES.index(state)] for state in JUDGED}


def beliefs(
    seen: Sequence[Sequence[FrameFaces]],
    people: Sequence[str],
    settings: LearnerSettings,
    create: Callable[[], Estimator],
    *,
    sessions: Sessions = "item",
) -> Believed:
    """Run the learner model over items.

    Args:
        seen: Frames of each item, in order of person and time.
        people: Whose each item is.
        settings: Of the learner model: which faces are evidence, and when an event begins.
        create: Makes a fresh estimator.
        sessions: `item`: nothing is known before an item, which is what a single face tells; it is all there is of
            its clip, so it counts as one whole observation, whatever `frame_s` says of pictures in a row. `person`:
            the items of a person follow each other, `STEP_S` apart or as long as the clip is, as in a lesson.
    """
    found = np.empty((len(seen), len(STATES)))
    onsets: list[tuple[int, str]] = []
    model: LearnerModel | None = None
    start = seconds = 0.0
    for k, given in enumerate(seen):
        frames = _held(given) if sessions == "person" else given
        if model is None or sessions == "item" or people[k] != people[k - 1]:
            estimator = create()
            model, start = LearnerModel(settings, _whole(estimator) if len(frames) == 1 else estimator), 0.0
        believed = []
        for frame in frames:
            observation = model.observe(replace(frame, t=start + frame.t))
            believed.append(observation.estimate.states)
            onsets += [(k, event.kind) for event in observation.events if event.phase == Phase.ONSET]
        if not believed:
            believed = [model.tick(start)[0].states]
        found[k] = np.mean(believed, axis=0)
        length = max(STEP_S, frames[-1].t if frames else 0.0)
        start += length
        seconds += length
    return Believed(found, tuple(onsets), seconds / 3600)


def onsets_right(
    believed: Believed, levels: dict[LearnerState, Ints], people: Sequence[str], *, resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """Return how often events began, and in what share of them the item's label agreed.

    Args:
        believed: Of sessions in a row.
        levels: By judged state [N].
        people: Whose each item is [N].
        resamples: Of the bootstrap over people.

    Returns:
        By state: `count`, `per_hour`, `people` with at least one, `labelled_there` with its 95 % interval over people;
        beside it `labelled_of_these_people`, what onsets at any time of the same people would reach, which is knowing
        who and not when, and `labelled_anywhere`.
    """
    names, whose = np.unique(np.asarray(people), return_inverse=True)
    rng = np.random.default_rng(0)
    report: dict[str, dict[str, Any]] = {}
    for state in JUDGED:
        present = target(levels[state], state).positive
        items = [k for k, kind in believed.onsets if kind == state]
        began = np.bincount(whose[items], minlength=len(names))
        agreed = np.bincount(whose[items], weights=present[items], minlength=len(names))
        usual = np.bincount(whose, weights=present, minlength=len(names)) / np.bincount(whose, minlength=len(names))
        drawn = rng.integers(0, len(names), (resamples, len(names)))
        counts = began[drawn].sum(axis=1)
        shares = agreed[drawn].sum(axis=1)[counts > 0] / counts[counts > 0]
        report[state.value] = {
            "count": len(items),
            "people": int((began > 0).sum()),
            "per_hour": round(len(items) / believed.hours, 3) if believed.hours else None,
            "labelled_there": round(float(present[items].mean()), 5) if items else None,
            "labelled_there_ci95": [round(float(x), 5) for x in np.percentile(shares, [2.5, 97.5])] if items else None,
            "labelled_of_these_people": round(float(began @ usual / began.sum()), 5) if items else None,
            "labelled_anywhere": round(float(present.mean()), 5),
        }
    return report


def _whole(estimator: Estimator) -> Estimator:
    """Let a single picture count as much as it can."""
    if isinstance(estimator, HmmEstimator):
        estimator.settings = estimator.settings.model_copy(update={"frame_s": float("inf")})
    return estimator


def _held(frames: Sequence[FrameFaces]) -> Sequence[FrameFaces]:
    """Repeat a single face for as long as it stands for."""
    if len(frames) != 1:
        return frames
    return [replace(frames[0], t=float(t)) for t in np.arange(0.0, STEP_S, HOLD_S)]
