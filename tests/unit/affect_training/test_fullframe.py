"""What is counted of faces in whole pictures: a split of six, one missed, one lost, one read otherwise when tracked."""

import numpy as np
import pytest
from affect_training.data import Split
from affect_training.fullframe import _report, background, paste

from affect.labels import EMOTIONS
from affect.types import FloatArray

LABELS = np.array([0, 1, 2, 3, 4, 5], np.int64)


def guesses(*of: int) -> FloatArray:
    return np.eye(len(EMOTIONS), dtype=np.float32)[list(of)]


def test_every_face_is_counted_where_it_belongs() -> None:
    split = Split(np.zeros((6, 48, 48), np.uint8), LABELS, np.arange(6, dtype=np.int64))
    order = np.array([5, 3, 1, 0, 2, 4], np.int64)
    rows = [5, 3, 0, 2, 4]  # 1 is missed
    first = guesses(5, 3, 0, 6, 4)  # 2 is read wrongly by the search's crop
    tracked = {5: guesses(5)[0], 3: guesses(6)[0], 0: guesses(0)[0], 2: guesses(2)[0]}  # 4 is lost, 3 read wrongly
    direct = guesses(5, 3, 1, 6, 2, 4)  # in the draw's order; 0 is read wrongly
    found = _report(split, order, rows, first, tracked, direct, "b", "d", 3)
    assert (found.n, found.found, found.lost, found.false_faces) == (6, 5, 1, 3)
    assert found.recall == pytest.approx(5 / 6)
    assert found.accuracy_first == pytest.approx(4 / 5)
    assert found.accuracy_tracked == pytest.approx(3 / 4)
    assert found.accuracy_direct == pytest.approx(4 / 5)
    assert found.accuracy_direct_all == pytest.approx(5 / 6)
    assert found.missed["disgust"] == (1, 1)
    assert sum(gone for gone, _ in found.missed.values()) == 1


def test_a_face_lies_where_it_is_said_to() -> None:
    face = np.full((48, 48), 255, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(5):
        picture, (left, top, right, bottom) = paste(face, rng)
        assert picture.shape == (480, 640, 3)
        assert right - left == bottom - top
        assert 3 * 48 <= right - left <= 6 * 48
        assert (picture[int(top) : int(bottom), int(left) : int(right)] == 255).all()
    assert background(rng).std() > 5
