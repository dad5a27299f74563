import cv2
import numpy as np
import pytest
import torch
from torch import nn

from affect.inference.device import Device
from affect.settings.vision import MtcnnSettings
from affect.types import ByteArray, Detection, FloatArray
from affect.vision import mtcnn as module
from affect.vision.detector import Hint, overlap
from affect.vision.mtcnn import Mtcnn

CPU = torch.device("cpu")
# The astronaut's face; `portrait` is what is around it, 240x240 pixels from (100, 0) on.
FACE: FloatArray = np.array([178, 58, 268, 174], np.float32)
EYES = np.array([[204, 101], [247, 103]], np.float32)
ORIGIN = np.array([100, 0], np.float32)
PORTRAIT_FACE: FloatArray = FACE - np.tile(ORIGIN, 2)
PORTRAIT_EYES = EYES - ORIGIN


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return Mtcnn(MtcnnSettings(), CPU)


@pytest.fixture(scope="module")
def portrait(astronaut: ByteArray) -> ByteArray:
    return np.ascontiguousarray(astronaut[:240, 100:340])


def test_it_finds_the_astronaut(mtcnn: Mtcnn, astronaut: ByteArray) -> None:
    ((face,),) = mtcnn.detect([astronaut])
    assert overlap(face.box, FACE) > 0.85
    assert face.score > 0.99
    assert face.landmarks is not None
    assert face.landmarks.shape == (5, 2)
    np.testing.assert_allclose(face.landmarks[:2], EYES, atol=3)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_a_mirrored_picture_has_its_face_mirrored(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    ((face,),) = mtcnn.detect([np.ascontiguousarray(portrait[:, ::-1])])
    x0, y0, x1, y1 = PORTRAIT_FACE
    assert overlap(face.box, np.array([240 - x1, y0, 240 - x0, y1], np.float32)) > 0.8
    assert face.landmarks is not None
    np.testing.assert_allclose(face.landmarks[:2], PORTRAIT_EYES[::-1] * (-1, 1) + (240, 0), atol=4)


@pytest.mark.parametrize("shift", [(12, -8), (-15, 10), (0, 20)])
def test_a_shifted_box_finds_the_face_again(mtcnn: Mtcnn, astronaut: ByteArray, shift: tuple[int, int]) -> None:
    box = FACE + np.array(shift * 2, np.float32)
    (found,) = mtcnn.refine([astronaut], [box])
    assert found is not None
    assert overlap(found.box, FACE) > max(0.8, overlap(box, FACE))
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks[:2], EYES, atol=5)
    assert found.score > 0.9


@pytest.mark.parametrize("box", [(350, 300, 450, 400), (10, 10, 100, 110), (100, 400, 180, 480)])
def test_the_background_is_no_face(mtcnn: Mtcnn, astronaut: ByteArray, box: tuple[int, ...]) -> None:
    assert mtcnn.refine([astronaut], [np.array(box, np.float32)]) == [None]


def test_each_box_is_looked_for_in_its_own_picture(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    blank = np.full((300, 300, 3), 128, np.uint8)
    found = mtcnn.refine([blank, portrait, blank], [PORTRAIT_FACE] * 3)
    assert [face is not None for face in found] == [False, True, False]


def test_refining_nothing_is_nothing(mtcnn: Mtcnn) -> None:
    assert mtcnn.refine([], []) == []


def test_the_threshold_of_a_track_is_a_setting(portrait: ByteArray) -> None:
    strict = Mtcnn(MtcnnSettings(track_threshold=1.0), CPU)
    assert strict.refine([portrait], [PORTRAIT_FACE]) == [None]


def test_a_batch_of_different_sizes_equals_single_ones(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    images = [
        np.asarray(cv2.resize(portrait, (180, 150)), np.uint8),
        np.full((80, 120, 3), 90, np.uint8),
        portrait,
    ]
    batch = mtcnn.detect(images)
    alone = [mtcnn.detect([image])[0] for image in images]
    assert [len(faces) for faces in batch] == [len(faces) for faces in alone] == [1, 0, 1]
    for together, single in zip(batch, alone, strict=True):
        for one, other in zip(together, single, strict=True):
            assert overlap(one.box, other.box) > 0.9
            assert one.landmarks is not None
            assert other.landmarks is not None
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=3)
    assert overlap(batch[2][0].box, PORTRAIT_FACE) > 0.8
    assert overlap(batch[0][0].box, PORTRAIT_FACE * np.array([0.75, 0.625] * 2, np.float32)) > 0.8


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_has_no_face(mtcnn: Mtcnn, level: int) -> None:
    assert mtcnn.detect([np.full((120, 160, 3), level, np.uint8)]) == [[]]


@pytest.mark.parametrize("shape", [(24, 24), (12, 100), (100, 13)])
def test_the_smallest_pictures_are_no_trouble(mtcnn: Mtcnn, shape: tuple[int, int]) -> None:
    assert mtcnn.detect([np.full((*shape, 3), 128, np.uint8)]) == [[]]


@pytest.mark.parametrize(("smallest", "count"), [(60, 1), (230, 0)])
def test_small_faces_are_looked_for_where_no_large_one_is(portrait: ByteArray, smallest: float, count: int) -> None:
    # Three quarters of the shorter side are 180 pixels: the first look cannot see this face.
    thresholds = MtcnnSettings().thresholds
    settings = MtcnnSettings(min_face=0.75, min_face_px=smallest, second_thresholds=thresholds)
    (faces,) = Mtcnn(settings, CPU).detect([portrait])
    assert len(faces) == count


@pytest.fixture(scope="module")
def covered(portrait: ByteArray) -> ByteArray:
    """The astronaut, grey from the mouth on."""
    picture = portrait.copy()
    picture[108:] = 127
    return picture


def test_a_covered_face_is_found_by_the_second_look(mtcnn: Mtcnn, covered: ByteArray) -> None:
    first_only = Mtcnn(MtcnnSettings(second_thresholds=MtcnnSettings().thresholds), CPU)
    assert first_only.detect([covered]) == [[]]
    ((face,),) = mtcnn.detect([covered])
    assert overlap(face.box, PORTRAIT_FACE) > 0.4


def test_the_second_look_lays_a_doubtful_crop_anew(
    mtcnn: Mtcnn, portrait: ByteArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered = portrait.copy()
    covered[104:] = 127  # from under the nose on
    ((face,),) = mtcnn.detect([covered])
    assert overlap(face.box, PORTRAIT_FACE) > 0.4
    monkeypatch.setattr(module, "ASK_AGAIN", 1.0)
    assert mtcnn.detect([covered]) == [[]]


class NoFaceInMirrors:
    """O-Net, answering "no face" to every other question: those about mirror images."""

    def __init__(self, onet: nn.Module) -> None:
        self.onet, self.asked = onet, 0

    def __call__(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.asked += 1
        probability, offsets, points = self.onet(crops)
        return probability * (self.asked % 2), offsets, points


def test_the_second_look_asks_about_the_mirror_image(portrait: ByteArray) -> None:
    mtcnn = Mtcnn(MtcnnSettings(min_face=0.75, min_face_px=60), CPU)
    ((face,),) = mtcnn.detect([portrait])
    mtcnn.onet = NoFaceInMirrors(mtcnn.onet)  # type: ignore[assignment]
    assert face.score > 0.9
    assert mtcnn.detect([portrait]) == [[]]


@pytest.mark.parametrize(("alone", "kept"), [(0.5, True), (0.3, False)])
def test_a_doubtful_track_is_kept_by_the_mirror_image(portrait: ByteArray, alone: float, kept: bool) -> None:
    answers = iter([alone, 1.0])  # the face, then its mirror image: .75 or .65 on average
    mtcnn = Mtcnn(MtcnnSettings(track_threshold=0.7), CPU)
    mtcnn.onet = lambda _: (torch.tensor([next(answers)]), torch.zeros(1, 4), torch.zeros(1, 10))  # type: ignore[assignment]
    assert (mtcnn.refine([portrait], [PORTRAIT_FACE])[0] is not None) == kept


def test_two_faces_come_best_first(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    poor = cv2.GaussianBlur(portrait, (0, 0), 4)
    ((first, second),) = mtcnn.detect([np.ascontiguousarray(np.hstack([poor, portrait]))])
    assert first.score >= second.score
    assert {float(face.box[0]) > 240 for face in (first, second)} == {True, False}


# Hints


def test_a_known_face_is_not_found_again(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    assert mtcnn.detect([portrait], [Hint(known=(PORTRAIT_FACE,))]) == [[]]


def test_beside_a_known_face_a_newcomer_is_found(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    pair = np.ascontiguousarray(np.hstack([portrait, portrait]))
    ((found,),) = mtcnn.detect([pair], [Hint(known=(PORTRAIT_FACE,))])
    assert overlap(found.box, PORTRAIT_FACE + np.array([240, 0, 240, 0], np.float32)) > 0.8


def test_newcomers_below_the_wanted_size_are_not_looked_for(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    elsewhere = np.array([0, 200, 30, 230], np.float32)
    assert mtcnn.detect([portrait], [Hint(230, (elsewhere,))]) == [[]]
    assert len(mtcnn.detect([portrait], [Hint(60, (elsewhere,))])[0]) == 1


def test_what_is_known_of_one_picture_is_not_known_of_another(portrait: ByteArray) -> None:
    # Three quarters of the shorter side are 180 pixels: only the second look finds the second picture's face.
    mtcnn = Mtcnn(MtcnnSettings(min_face=0.75, min_face_px=60), CPU)
    first, second = mtcnn.detect([portrait, portrait], [Hint(known=(PORTRAIT_FACE,)), Hint()])
    assert first == []
    assert len(second) == 1
    assert overlap(second[0].box, PORTRAIT_FACE) > 0.8


def test_reduced_precision_finds_the_same_face(mtcnn: Mtcnn, portrait: ByteArray) -> None:
    reduced = Mtcnn(MtcnnSettings(), CPU, Device("cpu", "bfloat16").autocast)
    ((exact,),) = mtcnn.detect([portrait])
    ((found,),) = reduced.detect([portrait])
    assert overlap(found.box, exact.box) > 0.85
    (refined,) = reduced.refine([portrait], [PORTRAIT_FACE])
    assert refined is not None
    assert refined.box.dtype == np.float32


@pytest.mark.parametrize("side", [60, 140, 240])
def test_pictures_of_any_size_have_a_second_look(mtcnn: Mtcnn, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    looks: list[bool] = []

    def nobody(images: list[ByteArray], *_: object, confirm: bool = False) -> list[list[Detection]]:
        looks.append(confirm)
        return [[] for _ in images]

    monkeypatch.setattr(mtcnn, "_detect", nobody)
    picture = np.zeros((side, side, 3), np.uint8)
    assert mtcnn.detect([picture]) == [[]]
    assert looks == [False, True]
    known = Hint(0.0, (np.array([0, 0, 20, 20], np.float32),))
    assert mtcnn.detect([picture], [known]) == [[]]
    assert looks == [False, True, False]  # who is there is seen already
