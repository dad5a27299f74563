"""Fits the likelihoods of host evidence to dialogue whose states are known: simulated transcripts, or a study's own.

How often each kind was told in a state, against how often it was told at all, shrunk to the design's table: the
design counts as `prior` turns in each state. The result is a table for `affect.toml`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from affect.errors import MediaError
from affect.labels import STATES, LearnerState
from affect.learner.simulate import DIALOGUE, Case, FacePool, Simulation, simulate
from affect.settings.learner import HmmSettings
from affect_training.learner.auc import Floats
from affect_training.learner.timeline import TimelineSession

_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""Keys that TOML takes without quotes."""

PRIOR = 20.0
"""Turns in each state that the design's table counts as."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was told of one session: (state, kind) of each piece of evidence, and turns spent in each state [7]."""

    told: tuple[tuple[LearnerState, str], ...]
    turns: Floats


def of_simulation(simulation: Simulation) -> Transcript:
    """Return what a simulated host told, with the true states."""

    def state(t: float) -> LearnerState:
        return STATES[int(simulation.states[int(np.searchsorted(simulation.t, t, "right")) - 1])]

    turns = np.zeros(len(STATES))
    for t in simulation.turns:
        turns[STATES.index(state(t))] += 1
    return Transcript(tuple((state(t), kind) for t, kind in simulation.host), turns)


def of_timeline(session: TimelineSession, turn_s: float = DIALOGUE.turn_s) -> Transcript:
    """Return what a study's host told; time that nobody labelled is left out.

    Args:
        session: True segments and evidence.
        turn_s: Seconds that count as one turn, where turns themselves are not logged.
    """
    turns = np.zeros(len(STATES))
    for segment in session.truth:
        turns[STATES.index(segment.state)] += (segment.end - segment.start) / turn_s
    told = [
        (segment.state, kind)
        for t, kind in session.evidence
        for segment in session.truth
        if segment.start <= t < segment.end
    ]
    return Transcript(tuple(told), turns)


def simulated(
    settings: HmmSettings, *, sessions: int, minutes: float, seed: int, telling: float = 1.0
) -> list[Transcript]:
    """Draw transcripts of learners who talk as the settings say.

    Args:
        settings: The truth.
        sessions, minutes: How many, how long.
        seed: Of chance.
        telling: Exponent on the likelihoods; below 1 the dialogue tells less than the settings say.
    """
    pool = FacePool(np.eye(7), np.arange(7))
    case = Case("transcripts", telling=telling)
    rng = np.random.default_rng(seed)
    return [
        of_simulation(simulate(settings, case, pool, seconds=minutes * 60, fps=1, rng=rng)) for _ in range(sessions)
    ]


def fit_host_evidence(
    transcripts: Sequence[Transcript], settings: HmmSettings, prior: float = PRIOR
) -> dict[str, dict[LearnerState, float]]:
    """Return likelihoods by kind and state, up to a factor a kind.

    Args:
        transcripts: What was told, in which state.
        settings: The design's table. A kind it does not know starts from 1 in every state.
        prior: Turns in each state that the design's table counts as.

    Raises:
        MediaError: Nothing was told in any labelled state.
    """
    turns = np.sum([transcript.turns for transcript in transcripts], axis=0) if transcripts else np.zeros(len(STATES))
    told = [one for transcript in transcripts for one in transcript.told]
    if not told or not turns.sum():
        raise MediaError("no host evidence in a labelled state; nothing to fit")
    kinds = dict.fromkeys([*settings.host_evidence, *(kind for _, kind in told)])
    return {kind: _row(kind, told, turns, settings, prior) for kind in kinds}


def _row(
    kind: str, told: Iterable[tuple[LearnerState, str]], turns: Floats, settings: HmmSettings, prior: float
) -> dict[LearnerState, float]:
    design = np.array([settings.host_evidence.get(kind, {}).get(state, 1.0) for state in STATES])
    counts = np.zeros(len(STATES))
    for state, what in told:
        counts[STATES.index(state)] += what == kind
    if not counts.sum():
        return {state: float(value) for state, value in zip(STATES, design, strict=True)}
    # How often it is told where the design says 1, given how the turns were spread over the states.
    usual = counts.sum() / (turns @ design)
    row = (counts + prior * usual * design) / (turns + prior) / usual
    return {state: round(float(value), 3) for state, value in zip(STATES, np.maximum(row, 0.01), strict=True)}


def as_toml(table: dict[str, dict[LearnerState, float]]) -> str:
    """Return the table as it stands in `affect.toml`; it holds for the estimators `hmm` and `fitted`."""
    lines = []
    for kind, row in table.items():
        lines += [
            f"[plugins.hmm.host_evidence.{kind if _BARE.fullmatch(kind) else json.dumps(kind)}]",
            *(f"{state.value} = {value:g}" for state, value in row.items()),
            "",
        ]
    return "\n".join(lines)
