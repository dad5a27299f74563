from pathlib import Path

import numpy as np
import pytest
from support.data import named_path

from affect.errors import BackendError, ErrorCode
from affect.settings.vision import YunetSettings
from affect.types import ByteArray, FloatArray
from affect.vision.detector import overlap
from affect.vision.yunet import Yunet

FACE: FloatArray = np.array([178, 58, 268, 174], np.float32)


@pytest.fixture
def yunet() -> Yunet:
    """YuNet on its model file, face_detection_yunet_2023mar.onnx."""
    return Yunet(YunetSettings(model=named_path("AFFECT_YUNET")))


@pytest.mark.parametrize("model", [None, Path("/nowhere/yunet.onnx")])
def test_without_its_file_the_message_says_what_to_set(model: Path | None) -> None:
    with pytest.raises(BackendError, match=rf"got {model}; set plugins\.yunet\.model") as caught:
        Yunet(YunetSettings(model=model))
    assert caught.value.code is ErrorCode.BACKEND_UNAVAILABLE


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(BackendError, match="not a YuNet model") as caught:
        Yunet(YunetSettings(model=path))
    assert caught.value.code is ErrorCode.BAD_CHECKPOINT
    assert str(path) in caught.value.message


def test_it_finds_the_astronaut(yunet: Yunet, astronaut: ByteArray) -> None:
    faces, empty = yunet.detect([astronaut, np.full((90, 160, 3), 128, np.uint8)])
    assert empty == []
    assert overlap(faces[0].box, FACE) > 0.8
    assert faces[0].landmarks is not None
    np.testing.assert_allclose(faces[0].landmarks[:2], [[204, 101], [247, 103]], atol=4)
    assert faces[0].score > 0.8


def test_a_shifted_box_finds_the_face_again(yunet: Yunet, astronaut: ByteArray) -> None:
    here, not_there = yunet.refine([astronaut] * 2, [FACE + 12, np.array([350, 300, 450, 400], np.float32)])
    assert here is not None
    assert overlap(here.box, FACE) > 0.75
    assert not_there is None
