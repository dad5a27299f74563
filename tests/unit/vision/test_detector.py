import numpy as np
import pytest

from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import area, overlap, refine_by_search


def box(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([x0, y0, x1, y1], np.float32)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(0, 0, 10, 10), 1.0),
        (box(5, 0, 15, 10), 50 / 150),
        (box(5, 5, 15, 15), 25 / 175),
        (box(2, 2, 4, 4), 4 / 100),
        (box(10, 0, 20, 10), 0.0),  # only an edge in common
        (box(20, 20, 30, 30), 0.0),
        (box(-5, 20, 15, 30), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(other: FloatArray, expected: float) -> None:
    one = box(0, 0, 10, 10)
    assert overlap(one, other) == pytest.approx(expected)
    assert overlap(other, one) == pytest.approx(expected)


def test_area() -> None:
    assert area(box(1, 2, 4, 8)) == 18
    assert area(box(4, 2, 1, 8)) == 0


class Searcher:
    """Finds what it is told to, in the picture it is shown."""

    def __init__(self, *found: Detection) -> None:
        self.found = list(found)
        self.seen: list[ByteArray] = []

    def __call__(self, image: ByteArray) -> list[Detection]:
        self.seen.append(image)
        return self.found


IMAGE = np.arange(200 * 300 * 3, dtype=np.int64).reshape(200, 300, 3).astype(np.uint8)


def test_refining_looks_only_around_the_box_and_answers_in_the_whole_picture() -> None:
    points = np.arange(10, dtype=np.float32).reshape(5, 2)
    search = Searcher(Detection(box(22, 25, 62, 65), points, 0.9))
    found = refine_by_search(search, IMAGE, box(100, 80, 140, 120), margin=0.5)
    # The box is 40x40: the surroundings run from (80, 60) to (160, 140).
    assert np.array_equal(search.seen[0], IMAGE[60:140, 80:160])
    assert search.seen[0].flags.c_contiguous
    assert found is not None
    assert found.box.tolist() == [102, 85, 142, 125]
    assert found.landmarks is not None
    assert np.array_equal(found.landmarks, points + np.array([80, 60]))
    assert found.score == 0.9


def test_the_surroundings_end_at_the_picture() -> None:
    search = Searcher()
    assert refine_by_search(search, IMAGE, box(-10, -10, 30, 30), margin=0.5) is None
    assert np.array_equal(search.seen[0], IMAGE[0:50, 0:50])
    refine_by_search(search, IMAGE, box(280, 180, 320, 220), margin=0.5)
    assert np.array_equal(search.seen[1], IMAGE[160:200, 260:300])


def test_of_several_the_one_that_overlaps_most() -> None:
    far, near = Detection(box(0, 0, 40, 40), None, 0.99), Detection(box(25, 25, 65, 65), None, 0.5)
    found = refine_by_search(Searcher(far, near), IMAGE, box(100, 80, 140, 120), margin=0.5)
    assert found is not None
    assert found.box.tolist() == [105, 85, 145, 125]


def test_a_face_elsewhere_is_not_this_one() -> None:
    elsewhere = Detection(box(0, 0, 40, 40), None, 0.99)
    assert refine_by_search(Searcher(elsewhere), IMAGE, box(100, 80, 140, 120), margin=0.5) is None


@pytest.mark.parametrize("outside", [box(400, 80, 440, 120), box(100, 80, 104, 84), box(-90, -90, -50, -50)])
def test_where_no_picture_is_nothing_is_looked_for(outside: FloatArray) -> None:
    search = Searcher()
    assert refine_by_search(search, IMAGE, outside) is None
    assert search.seen == []
