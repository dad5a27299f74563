import numpy as np
import pytest
from affect_training.learner.auc import JUDGED, Floats, Ints, auc, centred, figures, resampled, target, wins
from sklearn.metrics import roc_auc_score

from affect.labels import LearnerState

RNG = np.random.default_rng(0)
BOREDOM = LearnerState.BOREDOM


def test_levels_two_and_three_stand_against_zero() -> None:
    found = target(np.array([0, 1, 2, 3]), BOREDOM)
    assert found.positive.tolist() == [False, False, True, True]
    assert found.counts.tolist() == [True, False, True, True]


def test_engagement_is_three_against_the_rest() -> None:
    found = target(np.array([0, 1, 2, 3]), LearnerState.ENGAGEMENT)
    assert found.positive.tolist() == [False, False, False, True]
    assert found.counts.all()


@pytest.mark.parametrize("digits", [8, 1])
def test_auc_is_the_textbooks_with_ties_too(digits: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, s = rng.random(200) < 0.3, np.round(rng.normal(size=200), digits)
        assert auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-5)


def test_one_class_alone_has_no_auc() -> None:
    assert auc(np.array([True, True]), np.array([0.1, 0.2])) is None


def test_centring_removes_the_person() -> None:
    people = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(centred(np.array([1.0, 3.0, 10.0, 30.0]), people), [-1, 1, -10, 10])


def test_wins_add_up_to_the_auc() -> None:
    y, s, who = RNG.random(300) < 0.4, np.round(RNG.normal(size=300), 1), RNG.integers(0, 7, 300)
    table = wins(y, s, who, 7)
    assert table.sum() / (y.sum() * (~y).sum()) == pytest.approx(roc_auc_score(y, s))


def test_resampling_is_that_of_whole_people() -> None:
    y, s, who = RNG.random(120) < 0.4, RNG.normal(size=120), RNG.integers(0, 5, 120)
    draws = np.random.default_rng(3).multinomial(5, np.full(5, 0.2), size=50).astype(np.int64)
    values = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(who == k) for k in range(5) for _ in range(draw[k])])
        values.append(roc_auc_score(y[rows], s[rows]))
    assert resampled(y, s, who, draws) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-5)


def world(*, within: float, between: float, people: int = 20, faces: int = 40) -> tuple[Floats, Ints, list[str]]:
    """Scores and levels of boredom: people differ by `between`, moments of a person by `within`."""
    rng = np.random.default_rng(1)
    trait = np.repeat(rng.normal(size=people), faces)
    moment = rng.normal(size=people * faces)
    score = between * trait + within * moment + 0.5 * rng.normal(size=people * faces)
    truth = trait + moment
    return score, np.digitize(truth, [-0.5, 0.5, 1.5]), [f"p{k // faces}" for k in range(people * faces)]


def test_knowing_people_is_not_knowing_states() -> None:
    score, level, people = world(within=0.0, between=1.0)
    found = figures(dict.fromkeys(JUDGED, score), dict.fromkeys(JUDGED, level), people, resamples=50)
    pooled, inside, own = (getattr(found, k)[BOREDOM] for k in ("auc", "auc_within_person", "auc_per_person"))
    assert pooled > 0.65
    assert inside == pytest.approx(0.5, abs=0.05)
    assert own == pytest.approx(0.5, abs=0.05)


def test_knowing_moments_shows_within_people() -> None:
    score, level, people = world(within=1.0, between=0.0)
    found = figures(dict.fromkeys(JUDGED, score), dict.fromkeys(JUDGED, level), people, resamples=50)
    inside, own = found.auc_within_person[BOREDOM], found.auc_per_person[BOREDOM]
    assert inside is not None
    assert own is not None
    assert inside > 0.7
    assert own > 0.8
    ci95 = found.auc_within_person_ci95[BOREDOM]
    assert ci95 is not None
    assert ci95[0] < inside < ci95[1]
    assert (found.faces, found.people) == (800, 20)


def test_a_state_nobody_has_is_none_not_a_number() -> None:
    zeros = np.zeros(6, np.int64)
    found = figures(
        dict.fromkeys(JUDGED, np.arange(6.0)),
        dict.fromkeys(JUDGED, zeros),
        ["a", "a", "b", "b", "c", "c"],
        resamples=10,
    )
    for name in ("auc", "auc_ci95", "auc_per_person", "auc_per_person_ci95", "auc_within_person"):
        assert set(getattr(found, name).values()) == {None}


def test_the_same_seed_gives_the_same_interval() -> None:
    score, level, people = world(within=0.5, between=0.5, people=6, faces=10)
    one, two = (
        figures(dict.fromkeys(JUDGED, score), dict.fromkeys(JUDGED, level), people, resamples=30) for _ in range(2)
    )
    assert one == two
