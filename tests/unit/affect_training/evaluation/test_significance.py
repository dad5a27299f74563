import numpy as np
import pytest
from affect_training.evaluation.significance import mcnemar, mean_sd
from numpy.typing import NDArray
from scipy.stats import binom


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


def test_many_discordant_faces_by_hand() -> None:
    # The example of the textbooks (Agresti): (|b - c| - 1)^2 / (b + c)
    found = mcnemar(*answers(101, 121, 59, 33))
    assert (found.only_first, found.only_second, found.method) == (121, 59, "chi2")
    assert found.statistic == pytest.approx((62 - 1) ** 2 / 180)
    assert found.p == pytest.approx(5.45e-6, rel=0.01)
    assert found.difference == pytest.approx(62 / 314)
    assert found.difference_ci95[0] > 0


def test_few_discordant_faces_are_counted_exactly() -> None:
    found = mcnemar(*answers(50, 9, 2, 10))
    assert (found.method, found.statistic) == ("exact binomial", None)
    assert found.p == pytest.approx(2 * binom.cdf(2, 11, 0.5))


def test_the_order_of_the_models_only_turns_the_sign() -> None:
    first, second = answers(40, 30, 15, 5)
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert there.p == back.p
    assert there.difference == -back.difference
    assert there.difference_ci95 == pytest.approx((-back.difference_ci95[1], -back.difference_ci95[0]), abs=0.02)


@pytest.mark.parametrize("counts", [(10, 0, 0, 5), (10, 20, 20, 5), (10, 5, 5, 0)])
def test_even_models_do_not_differ(counts: tuple[int, int, int, int]) -> None:
    found = mcnemar(*answers(*counts))
    assert found.p == pytest.approx(1)
    assert found.difference == 0


def test_answers_to_different_faces_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="got 3 and 2"):
        mcnemar(np.ones(3, bool), np.ones(2, bool))


def test_mean_and_deviation_over_seeds() -> None:
    found = mean_sd([0.60, 0.62, 0.64])
    assert found.mean == pytest.approx(0.62)
    assert found.sd == pytest.approx(0.02)
    assert found.n == 3
    assert str(found) == "0.6200 +- 0.0200"


def test_one_run_has_no_deviation() -> None:
    assert mean_sd([0.5]).sd is None
    assert str(mean_sd([0.5])) == "0.5000"
    with pytest.raises(ValueError, match="at least one"):
        mean_sd([])
