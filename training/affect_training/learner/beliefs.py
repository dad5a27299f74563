"""What an estimator believes of labelled faces and clips: each a session of its own, or all of a person one session."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from affect.labels import STATES, LearnerState, Phase
from affect.learner.estimator import Estimator
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
        sessions: `item`: nothing is known before an item, which is what a single face tells. `person`: the items of
            a person follow each other, `STEP_S` apart or as long as the clip is, as in a lesson.
    """
    found = np.empty((len(seen), len(STATES)))
    onsets: list[tuple[int, str]] = []
    model: LearnerModel | None = None
    start = seconds = 0.0
    for k, given in enumerate(seen):
        frames = _held(given) if sessions == "person" else given
        if model is None or sessions == "item" or people[k] != people[k - 1]:
            model, start = LearnerModel(settings, create()), 0.0
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


def onsets_right(believed: Believed, levels: dict[LearnerState, Ints]) -> dict[str, dict[str, Any]]:
    """Return how often events began, and in what share of them the item's label agreed, beside the share of all items.

    Args:
        believed: Of sessions in a row.
        levels: By judged state [N].
    """
    report: dict[str, dict[str, Any]] = {}
    for state in JUDGED:
        present = target(levels[state], state).positive
        items = [k for k, kind in believed.onsets if kind == state]
        report[state.value] = {
            "per_hour": round(len(items) / believed.hours, 3) if believed.hours else None,
            "labelled_there": round(float(present[items].mean()), 5) if items else None,
            "labelled_anywhere": round(float(present.mean()), 5),
        }
    return report


def _held(frames: Sequence[FrameFaces]) -> Sequence[FrameFaces]:
    """Repeat a single face for as long as it stands for."""
    if len(frames) != 1:
        return frames
    return [replace(frames[0], t=float(t)) for t in np.arange(0.0, STEP_S, HOLD_S)]
