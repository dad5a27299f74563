"""Figures of event detection against known truth: event-F1, onset latency, false alarms, switches, NLL."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from affect.labels import STATES, LearnerState
from affect.learner.simulate import Floats, Ints

# A detection may be this much too early or too late: short states 2 s, the others 5 s (learner-model.md).
COLLAR_S = {LearnerState.SURPRISE: 2.0, LearnerState.DELIGHT: 2.0}
DEFAULT_COLLAR_S = 5.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A state from `start` to `end`, seconds."""

    state: LearnerState
    start: float
    end: float


@dataclass(slots=True)
class Score:
    """Totals over sessions; a state that was found at most once an occurrence is a hit."""

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0
    hours: float = 0.0
    switches: int = 0
    latencies: list[float] = field(default_factory=list)
    nll_sum: float = 0.0
    frames: int = 0

    @property
    def event_f1(self) -> float:
        """2 hits / (2 hits + false alarms + misses), all states pooled."""
        return 2 * self.hits / max(2 * self.hits + self.false_alarms + self.misses, 1)

    @property
    def false_alarms_per_hour(self) -> float:
        """Detections without a true state, an hour."""
        return self.false_alarms / max(self.hours, 1e-9)

    @property
    def switches_per_minute(self) -> float:
        """Changes of the label shown, a minute."""
        return self.switches / max(self.hours * 60, 1e-9)

    @property
    def nll(self) -> float:
        """Mean negative log-probability of the true state."""
        return self.nll_sum / max(self.frames, 1)

    def latency(self, percentile: float) -> float:
        """Seconds from a state's true start to its detection, of the hits; NaN without any."""
        return float(np.percentile(self.latencies, percentile)) if self.latencies else float("nan")


def segments(t: Floats, labels: Ints) -> list[Segment]:
    """Return the runs of equal labels, neutral left out."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts, ends = [0, *edges], [*edges, len(labels)]
    step = float(t[1] - t[0]) if len(t) > 1 else 0.0
    return [
        Segment(STATES[labels[a]], float(t[a]), float(t[b - 1]) + step)
        for a, b in zip(starts, ends, strict=True)
        if STATES[labels[a]] is not LearnerState.NEUTRAL
    ]


def add_session(
    score: Score, t: Floats, truth: Ints, found: Iterable[Segment], shown: Ints, distribution: Floats
) -> None:
    """Add one session.

    A detection hits when its start lies within a true occurrence of its state, widened by the collar; each occurrence
    is hit once, further detections of it are false alarms (flicker).

    Args:
        score: What is added to.
        t: Times [n].
        truth: True states [n].
        found: Detections; `start` is when it was announced.
        shown: Label shown to the tutor [n].
        distribution: Probabilities [n, 7].
    """
    true_segments = segments(t, truth)
    taken: set[int] = set()
    for detection in found:
        collar = COLLAR_S.get(detection.state, DEFAULT_COLLAR_S)
        match = next(
            (
                k
                for k, segment in enumerate(true_segments)
                if k not in taken
                and segment.state is detection.state
                and segment.start - collar <= detection.start <= segment.end + collar
            ),
            None,
        )
        if match is None:
            score.false_alarms += 1
        else:
            taken.add(match)
            score.hits += 1
            score.latencies.append(max(detection.start - true_segments[match].start, 0.0))
    score.misses += len(true_segments) - len(taken)
    score.hours += float(t[-1] - t[0]) / 3600
    score.switches += int(np.count_nonzero(np.diff(shown)))
    p = np.clip(distribution[np.arange(len(t)), truth], 1e-9, 1)
    score.nll_sum += float(-np.log(p).sum())
    score.frames += len(t)
