from collections.abc import Callable

import pytest

from affect.inference.bisect import bisect


def runner(bad: set[int]) -> tuple[Callable[[list[int]], list[str | ValueError]], list[list[int]]]:
    calls: list[list[int]] = []

    def run(items: list[int]) -> list[str | ValueError]:
        calls.append(items)
        if found := bad & set(items):
            raise ValueError(f"bad {sorted(found)}")
        return [f"ok {item}" for item in items]

    return run, calls


def test_a_good_batch_is_one_call() -> None:
    run, calls = runner(set())
    assert bisect(run, [1, 2, 3], ValueError) == ["ok 1", "ok 2", "ok 3"]
    assert calls == [[1, 2, 3]]


def test_nothing_is_no_call() -> None:
    run, calls = runner(set())
    assert bisect(run, [], ValueError) == []
    assert calls == []


def test_one_bad_item_costs_its_own_error_and_few_calls() -> None:
    run, calls = runner({5})
    results = bisect(run, list(range(8)), ValueError)
    assert [str(r) for r in results] == [
        "ok 0", "ok 1", "ok 2", "ok 3", "ok 4", "bad [5]", "ok 6", "ok 7",
    ]  # fmt: skip
    assert isinstance(results[5], ValueError)
    assert calls == [list(range(8)), [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]]


@pytest.mark.parametrize("bad", [{0}, {6}, {0, 6}, {2, 3}, set(range(7))])
def test_every_item_gets_its_own_answer_in_order(bad: set[int]) -> None:
    run, _ = runner(bad)
    results = bisect(run, list(range(7)), ValueError)
    assert [isinstance(r, ValueError) for r in results] == [k in bad for k in range(7)]
    assert [str(r) for r in results] == [f"bad [{k}]" if k in bad else f"ok {k}" for k in range(7)]


@pytest.mark.parametrize("size", [1, 2, 16, 64])
def test_the_cost_of_one_bad_item_is_logarithmic(size: int) -> None:
    run, calls = runner({size // 3})
    bisect(run, list(range(size)), ValueError)
    assert len(calls) == 1 + 2 * (size.bit_length() - 1)


def test_errors_in_the_answers_are_results() -> None:
    def run(items: list[int]) -> list[str | ValueError]:
        return [ValueError("mine") for _ in items]

    assert [str(r) for r in bisect(run, [1, 2], ValueError)] == ["mine", "mine"]


def test_other_errors_pass_through() -> None:
    def run(items: list[int]) -> list[str | ValueError]:
        raise KeyError("defect")

    with pytest.raises(KeyError):
        bisect(run, [1, 2], ValueError)
