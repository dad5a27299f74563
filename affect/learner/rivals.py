"""What others do with per-frame labels, for comparison: raw argmax, EMA + threshold, majority vote.

Each turns faces [n, 7] (NaN rows: no face) into a label and a distribution a frame. The label of an emotion is the
state that shows it most (the column maximum of the emission matrix): angry reads as frustration, sad as boredom.
"""

from collections.abc import Callable

import numpy as np

from affect.labels import EMOTIONS, STATES, Emotion, LearnerState
from affect.learner.dynamics import stationary
from affect.learner.simulate import Floats, Ints, Simulation
from affect.settings.learner import HmmSettings

Rival = Callable[[Simulation, HmmSettings], tuple[Ints, Floats]]

_NEUTRAL = STATES.index(LearnerState.NEUTRAL)


def raw_argmax(simulation: Simulation, settings: HmmSettings) -> tuple[Ints, Floats]:
    """Label each frame by its most probable emotion; keep the last label while there is no face."""
    faces = _filled(simulation.faces)
    return _state_of_emotion(settings)[faces.argmax(1)], _posterior(faces, settings)


def ema_threshold(
    simulation: Simulation, settings: HmmSettings, tau_s: float = 3.0, threshold: float = 0.5
) -> tuple[Ints, Floats]:
    """Smooth the probabilities with time constant tau; label the best emotion above the threshold, else neutral."""
    faces = _filled(simulation.faces)
    smooth = np.empty_like(faces)
    value = faces[0]
    last = simulation.t[0]
    for k, now in enumerate(simulation.t):
        if not np.isnan(simulation.faces[k, 0]):
            value = value + (1 - np.exp(-(now - last) / tau_s)) * (faces[k] - value)
        last = now
        smooth[k] = value
    labels = _state_of_emotion(settings)[smooth.argmax(1)]
    labels = np.where(smooth.max(1) >= threshold, labels, _NEUTRAL)
    return labels, _posterior(smooth, settings)


def majority_vote(simulation: Simulation, settings: HmmSettings, window_s: float = 5.0) -> tuple[Ints, Floats]:
    """Label by the most frequent argmax of the last seconds; the distribution is the votes, smoothed by one."""
    labels, _ = raw_argmax(simulation, settings)
    seen = ~np.isnan(simulation.faces[:, 0])
    votes = np.zeros((len(labels), len(STATES)))
    pi = stationary(settings)
    start = 0
    count = np.zeros(len(STATES))
    for k, now in enumerate(simulation.t):
        count[labels[k]] += seen[k]
        while simulation.t[start] < now - window_s:
            count[labels[start]] -= seen[start]
            start += 1
        votes[k] = count
    winner = np.where(votes.sum(1) > 0, votes.argmax(1), _NEUTRAL)
    return winner, (votes + pi) / (votes.sum(1, keepdims=True) + 1)


RIVALS: dict[str, Rival] = {
    "raw argmax": raw_argmax,
    "EMA + threshold": ema_threshold,
    "majority vote": majority_vote,
}


def _state_of_emotion(settings: HmmSettings) -> Ints:
    emission = np.array([settings.emission[s] for s in STATES])
    table = emission.argmax(0)
    # Fear is rare in all states; its maximum is an accident of small numbers. It reads as confusion.
    table[EMOTIONS.index(Emotion.FEAR)] = STATES.index(LearnerState.CONFUSION)
    return np.asarray(table)


def _posterior(faces: Floats, settings: HmmSettings) -> Floats:
    """One frame's Bayes: base rate times likelihood."""
    emission = np.array([settings.emission[s] for s in STATES])
    log = np.log(stationary(settings)) + faces @ np.log(emission / emission.sum(1, keepdims=True)).T
    p = np.exp(log - log.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def _filled(faces: Floats) -> Floats:
    """Repeat the last face where there is none; before the first, a neutral one."""
    filled = faces.copy()
    last = np.eye(len(EMOTIONS))[EMOTIONS.index(Emotion.NEUTRAL)]
    for k in range(len(filled)):
        if np.isnan(filled[k, 0]):
            filled[k] = last
        last = filled[k]
    return filled
