import numpy as np
import pytest
from affect_training.data.faces import FaceTable, Split, is_blank


def make(count: int, **fields: object) -> Split:
    images = np.arange(count, dtype=np.uint8)[:, None, None].repeat(48, axis=1).repeat(48, axis=2)
    return Split(images, np.arange(count, dtype=np.int64) % 7, np.arange(count, dtype=np.int64) * 10, **fields)  # type: ignore[arg-type]


def full(count: int) -> Split:
    votes = np.eye(7, dtype=np.float32)[np.arange(count) % 7]
    return make(count, votes=votes, weights=np.arange(count, dtype=np.float32), groups=tuple("abcdefgh"[:count]))


def test_taking_rows_takes_all_fields_in_the_order_asked() -> None:
    taken = full(5).take([3, 0, 3])
    assert taken.images[:, 0, 0].tolist() == [3, 0, 3]
    assert taken.labels.tolist() == [3, 0, 3]
    assert taken.rows.tolist() == [30, 0, 30]
    assert taken.votes is not None
    assert taken.votes.argmax(1).tolist() == [3, 0, 3]
    assert taken.weights is not None
    assert taken.weights.tolist() == [3, 0, 3]
    assert taken.groups == ("d", "a", "d")


def test_taking_by_mask_or_nothing() -> None:
    assert full(4).take(np.array([True, False, False, True])).groups == ("a", "d")
    assert len(full(4).take([])) == 0
    assert full(4).take([]).groups == ()


def test_what_is_not_there_stays_so() -> None:
    taken = make(3).take([1])
    assert taken.votes is None
    assert taken.weights is None
    assert taken.groups is None


def test_rows_beyond_the_end_are_an_error() -> None:
    with pytest.raises(IndexError):
        make(3).take([3])


def test_joining_fills_what_one_side_lacks() -> None:
    joined = full(2).join(make(1))
    assert joined.rows.tolist() == [0, 10, 0]
    assert joined.votes is not None
    assert joined.votes.sum(1).tolist() == [1, 1, 0]  # no vote counts
    assert joined.weights is not None
    assert joined.weights.tolist() == [0, 1, 1]
    assert joined.groups == ("a", "b", "")
    assert make(1).join(make(1)).votes is None


def test_blank_is_what_hardly_deviates() -> None:
    images = np.full((4, 48, 48), 100, np.uint8)
    images[1, 0, 0] = 101
    images[2, :24] = 102
    images[3] = np.arange(48)
    assert is_blank(images).tolist() == [True, True, False, False]


def test_a_table_is_cut_by_usage() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 48, 48), np.uint8)
    images[1] = 7
    labels, usage = np.array([1, 2, 3, 4, 5], np.int8), np.array([2, 2, 0, 0, 2], np.int8)
    data = FaceTable(images, labels, usage, tuple("abcde")).divide("hash", np.eye(7, dtype=np.float32)[:5])
    assert list(data.splits) == ["Training", "PrivateTest"]
    assert data.blank == {"Training": 0, "PrivateTest": 1}
    last = data.split("PrivateTest")
    assert last.rows.tolist() == [0, 4]
    assert last.labels.tolist() == [1, 5]
    assert last.groups == ("a", "e")
    assert last.votes is not None
    assert last.votes.argmax(1).tolist() == [0, 4]
