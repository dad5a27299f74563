from dataclasses import replace

import numpy as np
import pytest
from affect_training.learner.auc import JUDGED, Floats, auc, centred
from affect_training.learner.faces import FITTED, LabelledFaces
from affect_training.learner.heads import HeadOptions, fit_heads, people_folds

from affect.errors import MediaError
from affect.labels import LearnerState
from affect.learner.heads import READINGS

BOREDOM, CONFUSION = LearnerState.BOREDOM, LearnerState.CONFUSION
PEOPLE, EACH = 24, 40


def faces(seed: int = 0, *, trait: float = 1.0, embedding: int = 8) -> LabelledFaces:
    """Boredom shows in the first direction of the embedding; the second one says who it is, and who is bored often.

    The third person's direction is strong and says nothing of new people: a trap.
    """
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), EACH)
    who = rng.normal(size=PEOPLE)
    tends = rng.normal(size=PEOPLE)  # has nothing to do with how the person looks
    moment = rng.normal(size=len(people))
    truth = moment + trait * tends[people]
    rows = rng.normal(0, 1, (len(people), embedding))
    if embedding:
        rows[:, 0] = moment + 0.7 * rng.normal(size=len(people))
        rows[:, 1] = 5 * who[people] + 0.1 * rng.normal(size=len(people))
    levels = {state: rng.integers(0, 4, len(people)) for state in JUDGED}
    levels[BOREDOM] = np.clip(np.digitize(truth + 0.5 * rng.normal(size=len(people)), [0, 1, 2]), 0, 3)
    readings = rng.normal(size=(len(people), len(READINGS)))
    readings[:, 11] -= 0.7 * moment  # eyes close
    return LabelledFaces(rng.dirichlet(np.ones(7), len(people)), readings, rows, people, levels)


def scored(train: LabelledFaces, test: LabelledFaces, options: HeadOptions, state: LearnerState) -> float:
    """AUC within new people."""
    fitted = fit_heads(train, options)
    score = fitted.scores(test.embedding, test.readings)[:, FITTED.index(state)]
    value = auc(test.present(state), centred(score, test.people))
    assert value is not None
    return value


def test_heads_carry_over_to_new_people() -> None:
    assert scored(faces(0), faces(1), HeadOptions(), BOREDOM) > 0.7
    assert abs(scored(faces(0), faces(1), HeadOptions(), CONFUSION) - 0.5) < 0.06


def test_learning_within_people_is_not_fooled_by_who_they_are() -> None:
    train, test = faces(0, trait=3.0), faces(1, trait=3.0)

    def pooled(within: float) -> float:
        fitted = fit_heads(train, HeadOptions(within=within, ridge=0.001))
        value = auc(test.present(BOREDOM), fitted.scores(test.embedding, test.readings)[:, FITTED.index(BOREDOM)])
        assert value is not None
        return value

    assert pooled(1.0) > pooled(0.0) - 0.01
    weights = {
        w: fit_heads(train, HeadOptions(within=w, ridge=0.001)).embedding[FITTED.index(BOREDOM)] for w in (0.0, 1.0)
    }
    assert abs(weights[1.0][1] / weights[1.0][0]) < abs(weights[0.0][1] / weights[0.0][0])


def test_without_an_embedding_readings_are_enough() -> None:
    fitted = fit_heads(faces(0, embedding=0))
    assert fitted.embedding.shape == (len(FITTED), 0)
    assert scored(faces(0, embedding=0), faces(1, embedding=0), HeadOptions(), BOREDOM) > 0.6


def test_missing_readings_are_no_trouble() -> None:
    train = faces(0)
    readings = train.readings.copy()
    readings[::3, 7:] = np.nan
    fitted = fit_heads(replace(train, readings=readings))
    for array in (fitted.embedding, fitted.readings, fitted.mean, fitted.std, fitted.bias, fitted.slope):
        assert np.isfinite(array).all()
    never = readings.copy()
    never[:, 11] = np.nan  # a detector without landmarks
    assert np.isfinite(fit_heads(replace(train, readings=never)).readings).all()


def test_probabilities_are_calibrated_on_new_people() -> None:
    train, test = faces(0, trait=0.0), faces(1, trait=0.0)
    fitted = fit_heads(train)
    k = FITTED.index(BOREDOM)
    p = fitted.probabilities(fitted.scores(test.embedding, test.readings))[:, k]
    present = test.present(BOREDOM)
    assert p.mean() == pytest.approx(present.mean(), abs=0.04)
    high = p > np.quantile(p, 0.8)
    assert p[high].mean() == pytest.approx(present[high].mean(), abs=0.1)
    assert fitted.rate[k] == pytest.approx(train.present(BOREDOM).mean(), abs=0.01)


def test_a_head_that_does_not_generalise_says_next_to_nothing() -> None:
    fitted = fit_heads(faces(0))
    scores = fitted.scores(faces(1).embedding, faces(1).readings)
    ratios = fitted.log_ratios(scores)
    told = ratios[:, FITTED.index(BOREDOM)].std()
    assert ratios[:, FITTED.index(CONFUSION)].std() < 0.35 * told


def test_a_surer_level_is_made_with_the_help_of_the_others() -> None:
    """Confusion and frustration are one thing here, each with noise of its own."""
    train = faces(0)
    rng = np.random.default_rng(5)
    base = train.embedding[:, 0]
    levels = dict(train.levels)
    for state in (CONFUSION, LearnerState.FRUSTRATION):
        levels[state] = np.clip(np.digitize(base + 2 * rng.normal(size=len(train)), [0, 1, 2]), 0, 3)
    noisy = replace(train, levels=levels)
    alone = fit_heads(noisy, HeadOptions(reliability=1.0)).embedding[FITTED.index(CONFUSION)]
    helped = fit_heads(noisy, HeadOptions(reliability=0.3)).embedding[FITTED.index(CONFUSION)]

    def purity(row: Floats) -> float:
        return float(abs(row[0]) / np.linalg.norm(row))

    assert purity(helped) > purity(alone)


def test_the_fit_is_the_same_every_time() -> None:
    one, two = fit_heads(faces(0)), fit_heads(faces(0))
    np.testing.assert_array_equal(one.embedding, two.embedding)
    np.testing.assert_array_equal(one.slope, two.slope)


def test_folds_keep_people_whole() -> None:
    people = np.repeat(np.arange(7), [3, 9, 1, 4, 4, 6, 2])
    parts = people_folds(people, 3)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(people)))
    for k, part in enumerate(parts):
        for other in parts[k + 1 :]:
            assert not set(people[part]) & set(people[other])
    with pytest.raises(MediaError, match=r"7 people .* cannot be divided into 8 parts"):
        people_folds(people, 8)
