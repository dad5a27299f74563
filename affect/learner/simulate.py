"""Simulated learners with known truth: states from a Markov chain, faces drawn from a real classifier's answers, and
what a host would tell of their dialogue.

The chain and the emissions of the *truth* may differ from what the estimator believes; the cases below are wrong on
purpose. Faces are calibrated probabilities of real validation pictures with known labels, so a simulated angry face
is misread as often as a real one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from affect.labels import EMOTIONS, STATES, LearnerState
from affect.learner.dynamics import rate_matrix
from affect.settings.learner import HmmSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FacePool:
    """Answers of a classifier on labelled pictures: probabilities [N, 7] and labels [N]."""

    probabilities: Floats
    labels: Ints

    def rows_of(self, emotion: int) -> Ints:
        """Return the rows whose true label is an emotion."""
        return np.flatnonzero(self.labels == emotion)


@dataclass(frozen=True, slots=True)
class Case:
    """How the truth differs from the model.

    Attributes:
        half_life_scale: Factor on all half-lives.
        emission: Rows of P(emotion | state) that replace the model's.
        missing: Share of frames without a face, in bursts of a second on average (a hand, a turn, a lost track).
        person_sd: Spread of a person's constant bias on the log-probabilities (a resting face of one's own).
        telling: Exponent on the likelihoods of host evidence: below 1 the dialogue tells less than the model believes.
    """

    name: str
    half_life_scale: float = 1.0
    emission: Mapping[LearnerState, Sequence[float]] = field(default_factory=dict)
    missing: float = 0.0
    person_sd: float = 0.0
    telling: float = 1.0


CASES: tuple[Case, ...] = (
    Case("as modelled"),
    Case("half-lives x0.5", half_life_scale=0.5),
    Case("half-lives x2", half_life_scale=2.0),
    # Hoque 2012: 90 % of people smile in natural frustration.
    Case("smiling frustration", emission={LearnerState.FRUSTRATION: (0.14, 0.06, 0.03, 0.42, 0.10, 0.03, 0.22)}),
    # McDaniel 2007: boredom looks neutral.
    Case("neutral boredom", emission={LearnerState.BOREDOM: (0.03, 0.02, 0.02, 0.03, 0.10, 0.02, 0.78)}),
    Case("30 % missing", missing=0.3),
    Case("resting faces", person_sd=0.5),
    Case("dialogue half as telling", telling=0.5),
)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """How often the host has something to tell. [D]

    Attributes:
        turn_s: Mean seconds between the student's turns (exponential).
        answers: Share of turns that are answers; an answer is right or wrong, in the ratio of their likelihoods.
        rates: Chance of each other kind in a turn, where its likelihood is 1.
    """

    turn_s: float = 20.0
    answers: float = 0.6
    rates: Mapping[str, float] = field(
        default_factory=lambda: {
            "slow_response": 0.15,
            "fast_guess": 0.08,
            "hint_request": 0.12,
            "off_task": 0.04,
            "typed_frustration": 0.01,
        }
    )


DIALOGUE = Dialogue()
RIGHT, WRONG = "answer_correct", "answer_wrong"


@dataclass(frozen=True, slots=True)
class Simulation:
    """One session.

    Attributes:
        t: Times [n], seconds.
        states: True states [n], indices of STATES.
        faces: Probabilities [n, 7], NaN rows where there is no face.
        host: What the host tells, (time, kind), in order of time.
        turns: Times of the student's turns, those that tell nothing too.
    """

    t: Floats
    states: Ints
    faces: Floats
    host: tuple[tuple[float, str], ...] = ()
    turns: tuple[float, ...] = ()


def simulate(
    settings: HmmSettings,
    case: Case,
    pool: FacePool,
    *,
    seconds: float,
    fps: float,
    rng: np.random.Generator,
    dialogue: Dialogue = DIALOGUE,
) -> Simulation:
    """Draw one session.

    An expression is held for a while (exponential, mean `tau_c_s`) and all frames of a hold show the same picture
    with a little noise: frames are not independent, as the estimator assumes too.
    """
    scaled = settings.model_copy(
        update={"half_lives_s": {s: h * case.half_life_scale for s, h in settings.half_lives_s.items()}}
    )
    t = np.arange(0.0, seconds, 1 / fps)
    states = _states(rate_matrix(scaled), settings, t, rng)
    emission = np.array([case.emission.get(s, settings.emission[s]) for s in STATES], np.float64)
    emission /= emission.sum(axis=1, keepdims=True)
    rows = [pool.rows_of(k) for k in range(len(EMOTIONS))]
    bias = rng.normal(0, case.person_sd, len(EMOTIONS)) if case.person_sd else np.zeros(len(EMOTIONS))
    faces = np.empty((len(t), len(EMOTIONS)))
    until, shown, held_state = -1.0, np.zeros(len(EMOTIONS)), -1
    for k, now in enumerate(t):
        if now >= until or states[k] != held_state:
            emotion = int(rng.choice(len(EMOTIONS), p=emission[states[k]]))
            shown = np.log(np.clip(pool.probabilities[rng.choice(rows[emotion])], 1e-4, 1)) + bias
            until, held_state = now + rng.exponential(settings.tau_c_s), int(states[k])
        noisy = shown + rng.normal(0, 0.2, len(EMOTIONS))
        p = np.exp(noisy - noisy.max())
        faces[k] = p / p.sum()
    if case.missing:
        faces[_gaps(t, case.missing, rng)] = np.nan
    # A generator of its own: faces and states are the same whatever is said.
    turns, host = talk(settings, t, states, dialogue, rng.spawn(1)[0], telling=case.telling)
    return Simulation(t, states, faces, host, turns)


def talk(
    settings: HmmSettings,
    t: Floats,
    states: Ints,
    dialogue: Dialogue,
    rng: np.random.Generator,
    *,
    telling: float = 1.0,
) -> tuple[tuple[float, ...], tuple[tuple[float, str], ...]]:
    """Draw the student's turns and what they tell.

    Args:
        settings: Likelihoods of host evidence.
        t: Times [n].
        states: True states [n].
        dialogue: How often.
        rng: Where chance comes from.
        telling: Exponent on the likelihoods.

    Returns:
        Times of the turns, and (time, kind) of what they tell.
    """
    turns: list[float] = []
    told: list[tuple[float, str]] = []
    now = rng.exponential(dialogue.turn_s)
    while now < t[-1]:
        state = STATES[int(states[int(np.searchsorted(t, now, "right")) - 1])]
        likelihood = {kind: row[state] ** telling for kind, row in settings.host_evidence.items()}
        turns.append(float(now))
        if {RIGHT, WRONG} <= likelihood.keys() and rng.random() < dialogue.answers:
            right = rng.random() < likelihood[RIGHT] / (likelihood[RIGHT] + likelihood[WRONG])
            told.append((float(now), RIGHT if right else WRONG))
        for kind, rate in dialogue.rates.items():
            if kind in likelihood and rng.random() < min(rate * likelihood[kind], 0.95):
                told.append((float(now), kind))
        now += rng.exponential(dialogue.turn_s)
    return tuple(turns), tuple(told)


def _states(q: Floats, settings: HmmSettings, t: Floats, rng: np.random.Generator) -> Ints:
    """Draw a path of the chain with generator Q, sampled at times t."""
    pi = np.array([settings.base_rates[s] for s in STATES], np.float64)
    state = int(rng.choice(len(STATES), p=pi / pi.sum()))
    path = np.empty(len(t), np.int64)
    leave = rng.exponential(-1 / q[state, state])
    for k, now in enumerate(t):
        while now >= leave:
            jump = np.clip(q[state], 0, None)
            state = int(rng.choice(len(STATES), p=jump / jump.sum()))
            leave += rng.exponential(-1 / q[state, state])
        path[k] = state
    return path


def _gaps(t: Floats, share: float, rng: np.random.Generator, mean_s: float = 1.0) -> NDArray[np.bool_]:
    """Alternate faces and gaps of exponential length so that `share` of the time is gap."""
    gone = np.zeros(len(t), bool)
    now, missing = 0.0, False
    while now < t[-1]:
        length = rng.exponential(mean_s if missing else mean_s * (1 - share) / share)
        if missing:
            gone[(t >= now) & (t < now + length)] = True
        now, missing = now + length, not missing
    return gone
