import numpy as np
import pytest
from affect_training.evaluation.groups import by_group

from affect.errors import MediaError


def test_each_group_is_judged_apart() -> None:
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    guess = np.array([0, 0, 1, 1, 0, 1, 0, 0])
    groups = ["old"] * 4 + ["young"] * 4
    found = by_group(np.eye(7)[guess], labels, groups)
    old, young = found.groups
    assert (old.group, old.n, old.accuracy, old.macro_recall) == ("old", 4, 1.0, 1.0)
    assert (young.group, young.n, young.accuracy, young.macro_recall) == ("young", 4, 0.25, 0.25)
    assert old.accuracy_ci95 == (1.0, 1.0)
    assert young.accuracy_ci95[0] < 0.25 < young.accuracy_ci95[1]
    assert found.accuracy_gap == found.macro_recall_gap == 0.75


def test_groups_come_by_name_whatever_their_order() -> None:
    guess = np.array([0, 1, 2, 3])
    found = by_group(np.eye(7)[guess], guess, ["c", "a", "b", "a"])
    assert [(group.group, group.n) for group in found.groups] == [("a", 2), ("b", 1), ("c", 1)]


def test_a_gap_by_chance_is_told_from_a_real_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 400)
    groups = ["a", "b"] * 200
    wrong = (labels + 1) % 7
    alike = np.where(rng.random(400) < 0.6, labels, wrong)
    better_for_a = np.where(rng.random(400) < np.tile([0.8, 0.4], 200), labels, wrong)
    assert by_group(np.eye(7)[alike], labels, groups).accuracy_gap_p > 0.05
    found = by_group(np.eye(7)[better_for_a], labels, groups)
    assert found.accuracy_gap_p < 0.01
    assert found.accuracy_gap == pytest.approx(0.4, abs=0.1)
    assert found == by_group(np.eye(7)[better_for_a], labels, groups)


def test_one_group_has_no_gap() -> None:
    found = by_group(np.eye(7)[[0, 1]], np.array([0, 0]), ["all", "all"])
    assert (found.accuracy_gap, found.accuracy_gap_p) == (0, 1)


@pytest.mark.parametrize("groups", [None, ()])
def test_data_without_groups_is_refused(groups: tuple[str, ...] | None) -> None:
    with pytest.raises(MediaError, match="name no groups"):
        by_group(np.eye(7), np.arange(7), groups)
