"""Refits the emission matrix E[state, emotion] of the chain to labelled faces, shrunk to the design's.

The chain takes a face for P(face | state) = sum_k E[s, k] p_k / m_k, a mixture of seven known densities with unknown
shares. Shares that fit the faces of a state best are found by expectation maximisation; the design's row counts as
`prior` faces (a Dirichlet prior), which makes the optimum unique and the result the same every time.
"""

from collections.abc import Mapping

import numpy as np

from affect.labels import EMOTIONS, STATES, LearnerState
from affect.settings.learner import HmmSettings
from affect_training.learner.auc import Floats
from affect_training.learner.faces import FITTED, LabelledFaces

PRIOR = 500.0
"""Faces that the design's row counts as. Faces of one clip-judged person are far from independent."""

_STEPS, _CHANGE = 500, 1e-7


def fit_emission(
    faces: LabelledFaces, settings: HmmSettings, prior: float = PRIOR
) -> dict[LearnerState, tuple[float, ...]]:
    """Return a row for each state; states without labels keep the design's.

    Args:
        faces: Labelled faces.
        settings: The design's matrix and class shares.
        prior: Faces that the design's row counts as.
    """
    design = {state: _normalised(np.array(settings.emission[state])) for state in STATES}
    shares = _normalised(np.maximum([settings.class_shares[e] for e in EMOTIONS], settings.min_share))
    rows = dict(design)
    for state in FITTED:
        of_state = faces.take(faces.present(state))
        if len(of_state):
            rows[state] = _shares(of_state.probabilities / shares, _weights(of_state), design[state], prior)
    return {state: tuple(round(float(v), 5) for v in row) for state, row in rows.items()}


def _weights(faces: LabelledFaces) -> Floats:
    """Weigh people by the square root of their faces; the sum is the number of equal faces that say as much."""
    weights = faces.by_person()
    return np.asarray(weights / np.sum(weights**2))


def _shares(densities: Floats, weights: Floats, start: Floats, prior: float) -> Floats:
    """Return the shares [7] of a mixture that are likeliest for weighted faces [N, 7] and a Dirichlet prior."""
    row = start
    for _ in range(_STEPS):
        parts = densities * row
        counts = weights @ (parts / parts.sum(axis=1, keepdims=True))
        found = _normalised(counts + prior * start)
        change = float(np.abs(found - row).max())
        row = found
        if change < _CHANGE:
            break
    return np.maximum(row, 1e-4)


def _normalised(row: Floats) -> Floats:
    return np.asarray(row / row.sum())


def unfitted(settings: HmmSettings) -> Mapping[LearnerState, tuple[float, ...]]:
    """Return the design's matrix, as a fit has it."""
    return {state: tuple(map(float, _normalised(np.array(settings.emission[state])))) for state in STATES}
