import numpy as np
import pytest

from affect.settings.vision import HaarSettings
from affect.types import ByteArray, FloatArray
from affect.vision.detector import Hint, overlap
from affect.vision.haar import Haar

FACE: FloatArray = np.array([178, 58, 268, 174], np.float32)


@pytest.fixture(scope="module")
def haar() -> Haar:
    return Haar(HaarSettings())


def test_it_finds_the_astronaut(haar: Haar, astronaut: ByteArray) -> None:
    faces, empty = haar.detect([astronaut, np.full((200, 200, 3), 128, np.uint8)])
    assert empty == []
    assert overlap(faces[0].box, FACE) > 0.6
    assert faces[0].landmarks is None
    assert 0.5 < faces[0].score <= 1
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_a_shifted_box_finds_the_face_again(haar: Haar, astronaut: ByteArray) -> None:
    here, not_there = haar.refine([astronaut] * 2, [FACE + 12, np.array([350, 300, 450, 400], np.float32)])
    assert here is not None
    assert overlap(here.box, FACE) > 0.6
    assert not_there is None


def test_the_smallest_face_is_a_setting(astronaut: ByteArray) -> None:
    assert Haar(HaarSettings(min_face=0.5)).detect([astronaut]) == [[]]


def test_faces_below_the_wanted_size_are_not_looked_for(haar: Haar, astronaut: ByteArray) -> None:
    small, large = haar.detect([astronaut, astronaut], [Hint(60.0), Hint(200.0)])
    assert len(small) == 1
    assert large == []
