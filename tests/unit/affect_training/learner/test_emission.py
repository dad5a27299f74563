import numpy as np
import pytest
from affect_training.learner.auc import JUDGED
from affect_training.learner.emission import fit_emission, unfitted
from affect_training.learner.faces import FITTED, LabelledFaces

from affect.labels import EMOTIONS, STATES, Emotion, LearnerState
from affect.learner.heads import READINGS
from affect.settings.learner import HmmSettings

DESIGN = HmmSettings()
SAD, HAPPY = EMOTIONS.index(Emotion.SAD), EMOTIONS.index(Emotion.HAPPY)


def faces(count: int, *, shown: float, people: int = 10, seed: int = 0) -> LabelledFaces:
    """Bored people whose faces are sad with a probability and happy else, as a perfect classifier reads them."""
    rng = np.random.default_rng(seed)
    sad = rng.random(count) < shown
    rows = np.full((count, 7), 1e-3)
    rows[np.arange(count), np.where(sad, SAD, HAPPY)] = 1 - 6e-3
    levels = {state: np.zeros(count, np.int64) for state in JUDGED}
    levels[LearnerState.BOREDOM][:] = 3
    return LabelledFaces(
        rows, np.zeros((count, len(READINGS))), np.empty((count, 0)), np.arange(count) % people, levels
    )


def test_without_a_prior_the_shares_are_those_of_the_faces() -> None:
    row = fit_emission(faces(4000, shown=0.3), DESIGN, prior=1e-6)[LearnerState.BOREDOM]
    assert row[SAD] == pytest.approx(0.3, abs=0.03)
    assert row[HAPPY] == pytest.approx(0.7, abs=0.03)


def test_a_strong_prior_keeps_the_designs_row() -> None:
    row = fit_emission(faces(100, shown=0.3), DESIGN, prior=1e7)[LearnerState.BOREDOM]
    assert row == pytest.approx(unfitted(DESIGN)[LearnerState.BOREDOM], abs=1e-3)


def test_the_prior_counts_as_that_many_faces() -> None:
    design = unfitted(DESIGN)[LearnerState.BOREDOM]
    row = fit_emission(faces(200, shown=1.0), DESIGN, prior=200)[LearnerState.BOREDOM]
    assert row[SAD] == pytest.approx((200 + 200 * design[SAD]) / 400, abs=0.02)


def test_states_without_labels_keep_the_designs_rows() -> None:
    found = fit_emission(faces(100, shown=0.5), DESIGN)
    assert set(found) == set(STATES)
    for state in set(STATES) - {LearnerState.BOREDOM}:  # nobody was anything else
        assert found[state] == pytest.approx(unfitted(DESIGN)[state], abs=1e-4)
    assert LearnerState.DELIGHT not in FITTED


def test_rows_are_distributions_and_the_same_every_time() -> None:
    one, two = (fit_emission(faces(300, shown=0.4), DESIGN) for _ in range(2))
    assert one == two
    for row in one.values():
        assert min(row) > 0
        assert sum(row) == pytest.approx(1, abs=1e-3)


def test_people_count_by_the_root_of_their_faces() -> None:
    """One person with 900 happy faces against nine with one sad face each: 30 to 9, not 900 to 9."""
    many = faces(909, shown=0.0, people=1)
    rows = many.probabilities.copy()
    rows[900:] = faces(9, shown=1.0).probabilities
    people = np.concatenate([np.zeros(900, np.int64), np.arange(1, 10)])
    mixed = LabelledFaces(rows, many.readings, many.embedding, people, many.levels)
    row = fit_emission(mixed, DESIGN, prior=1e-6)[LearnerState.BOREDOM]
    assert row[SAD] == pytest.approx(9 / 39, abs=0.02)
