import numpy as np
import pytest
from affect_training.ensemble import (
    best_prefix,
    figures,
    find,
    gain_of,
    judged_by,
    keep_first,
    order_by_usefulness,
    search_weights,
    voted,
)
from affect_training.evaluation import calibration, metrics
from affect_training.evaluation.metrics import Floats, Labels

from affect.errors import SettingsError
from affect.inference.voting import Vote

N = 400


@pytest.fixture
def labels() -> Labels:
    return np.random.default_rng(0).integers(0, 7, N)


def member(labels: Labels, skill: float, seed: int) -> Floats:
    """Probabilities of a member: noise, and as much of the truth as its skill."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), 7))
    logits[np.arange(len(labels)), labels] += skill
    return metrics.softmax(logits)


# The vote


def test_soft_and_weighted_votes_are_means() -> None:
    p = metrics.softmax(np.random.default_rng(1).normal(size=(14, 7))).reshape(2, 7, 7)
    np.testing.assert_allclose(voted(p, np.array([9.0, 1.0]), "soft"), p.mean(0))
    np.testing.assert_allclose(voted(p, np.array([9.0, 3.0]), "weighted"), 0.75 * p[0] + 0.25 * p[1])


def test_majority_counts_voices_and_the_mean_decides_ties() -> None:
    sure, unsure = np.eye(7)[3], np.full(7, 0.1) + 0.3 * np.eye(7)[0]
    assert voted(np.stack([sure, unsure, unsure])[:, None], np.ones(3), "majority").argmax() == 0
    assert voted(np.stack([sure, unsure])[:, None], np.ones(2), "majority").argmax() == 3


# The search


def test_the_search_prefers_the_member_that_knows(labels: Labels) -> None:
    p = np.stack([member(labels, 0.0, 1), member(labels, 3.0, 2), member(labels, 0.0, 3)])
    weights = search_weights(p, labels, draws=300, seed=0)
    assert weights.sum() == pytest.approx(1)
    assert weights.argmax() == 1


def test_the_search_is_never_worse_than_the_soft_vote_or_a_member(labels: Labels) -> None:
    p = np.stack([member(labels, skill, k) for k, skill in enumerate((0.5, 1.0, 1.5))])
    weights = search_weights(p, labels, draws=1, seed=0)
    found = metrics.accuracy(voted(p, weights, "weighted"), labels)
    assert found >= metrics.accuracy(voted(p, weights, "soft"), labels)
    assert found >= max(metrics.accuracy(single, labels) for single in p)


def test_the_same_seed_finds_the_same_weights_whatever_the_chunk(
    labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = np.stack([member(labels, 1.0, k) for k in range(3)])
    first = search_weights(p, labels, draws=100, seed=4)
    monkeypatch.setattr("affect_training.ensemble._CHUNK", 7)
    np.testing.assert_array_equal(search_weights(p, labels, draws=100, seed=4), first)
    assert not np.array_equal(search_weights(p, labels, draws=100, seed=5), first)


def test_among_equally_right_weights_the_likelier_win() -> None:
    labels = np.zeros(4, np.int64)
    sure, unsure = np.tile(np.eye(7)[0] * 0.9 + 0.1 / 7, (4, 1)), np.tile(np.eye(7)[0] * 0.3 + 0.1, (4, 1))
    np.testing.assert_allclose(search_weights(np.stack([unsure, sure]), labels, draws=50, seed=0), [0, 1])


def test_a_gain_by_chance_does_not_survive_cross_fitting(labels: Labels) -> None:
    """Equally good members that agree mostly: whatever the search gains on its own faces is luck."""
    common = np.log(member(labels, 1.0, 1))
    rng = np.random.default_rng(2)
    p = np.stack([metrics.softmax(common + rng.normal(size=common.shape) / 2) for _ in range(6)])
    gain = gain_of(p, labels, search_weights(p, labels, draws=500, seed=0), draws=500, seed=0)
    assert gain.found > 0
    assert gain.cross_fitted < gain.found
    assert gain.cross_fitted_ci95[0] <= 0
    assert gain.found_ci95[0] <= gain.found <= gain.found_ci95[1]


def test_a_real_gain_survives_cross_fitting(labels: Labels) -> None:
    p = np.stack([member(labels, 2.5, 1), *(member(labels, 0.0, k) for k in range(2, 6))])
    gain = gain_of(p, labels, search_weights(p, labels, draws=300, seed=0), draws=300, seed=0)
    assert gain.cross_fitted_ci95[0] > 0


# The order


def test_the_best_member_comes_first_and_a_copy_of_it_last(labels: Labels) -> None:
    best = member(labels, 2.0, 1)
    p = np.stack([member(labels, 1.0, 2), best, best, member(labels, 1.8, 3)])
    order = order_by_usefulness(p, labels, np.ones(4), "soft")
    assert order[0] == 1
    assert order[1] == 3  # another opinion helps more than the same again
    assert sorted(order) == [0, 1, 2, 3]


def test_members_without_weight_are_left_out(labels: Labels) -> None:
    p = np.stack([member(labels, skill, k) for k, skill in enumerate((1.0, 2.0, 1.5))])
    assert set(order_by_usefulness(p, labels, np.array([0.5, 0.0, 0.5]), "weighted")) == {0, 2}


# All of it


@pytest.mark.parametrize("vote", ["soft", "weighted", "majority"])
def test_what_is_found_is_told_for_every_number_of_members(labels: Labels, vote: Vote) -> None:
    p = np.stack([member(labels, skill, k) for k, skill in enumerate((1.0, 1.6, 1.3))])
    found = find(p, labels, vote=vote, draws=50, seed=0)
    assert found.vote == vote
    assert len(found.order) == len(found.weights) == len(found.prefixes)
    assert found.prefixes[0].accuracy == max(found.single[k].accuracy for k in found.order)
    chosen, weights = list(found.order), np.asarray(found.weights)
    assert found.prefixes[-1] == figures(voted(p[chosen], weights, vote), labels)
    assert list(found.votes) == ["soft", "weighted", "majority"]
    assert found.gain is not None
    if vote != "weighted":
        assert set(found.weights) == {1.0}
        assert found.prefixes[-1].accuracy == found.votes[vote].accuracy


def test_members_that_only_harm_can_be_left_out(labels: Labels) -> None:
    good = member(labels, 2.0, 1)
    p = np.stack([np.roll(good, 1, axis=1), good, np.roll(good, 2, axis=1)])
    found = find(p, labels, draws=0)
    assert best_prefix(found) == 1
    kept = keep_first(found, 1)
    assert (kept.order, kept.weights, kept.prefixes) == ((1,), (1.0,), found.prefixes[:1])
    assert kept.single == found.single
    assert best_prefix(find(np.stack([good, good]), labels, draws=0)) == 1  # nothing gained: the fewer


def test_a_gain_is_that_of_all_members_and_not_of_some(labels: Labels) -> None:
    p = np.stack([member(labels, skill, k) for k, skill in enumerate((1.0, 1.6, 1.3))])
    found = find(p, labels, vote="soft", draws=50, seed=0)
    assert found.gain is not None
    assert keep_first(found, 3).gain == found.gain
    assert keep_first(found, 2).gain is None


def test_an_ensemble_can_be_judged_by_other_answers(labels: Labels) -> None:
    p = np.stack([member(labels, skill, k) for k, skill in enumerate((1.0, 1.6, 1.3))])
    worse = np.stack([member(labels, skill, k) for k, skill in enumerate((0.2, 0.8, 0.6))])
    found = keep_first(find(p, labels, vote="weighted", draws=50, seed=0), 2)
    again = judged_by(found, worse, labels)
    assert (again.order, again.weights, again.gain) == (found.order, found.weights, None)
    chosen, weights = list(found.order), np.asarray(found.weights)
    assert again.prefixes[-1] == figures(voted(worse[chosen], weights, "weighted"), labels)


def test_without_draws_nothing_is_searched(labels: Labels) -> None:
    p = np.stack([member(labels, 1.0, k) for k in range(2)])
    found = find(p, labels, draws=0)
    assert (found.searched, found.gain, list(found.votes)) == (None, None, ["soft", "majority"])
    with pytest.raises(SettingsError, match="needs a search"):
        find(p, labels, vote="weighted", draws=0)


def test_one_member_is_no_ensemble(labels: Labels) -> None:
    with pytest.raises(SettingsError, match="at least two members, got 1"):
        find(member(labels, 1.0, 0)[None], labels)


def test_figures_are_cross_fitted_and_the_temperature_is_not() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 7, 2000)
    logits = np.log(member(labels, 2.0, 6))
    sharp = metrics.softmax(logits * 3)
    told = figures(sharp, labels)
    assert told.temperature == pytest.approx(3 * calibration.fit_temperature(logits, labels), rel=0.02)
    assert told.ece < metrics.ece(sharp, labels)
    assert told.accuracy == pytest.approx(metrics.accuracy(sharp, labels))
