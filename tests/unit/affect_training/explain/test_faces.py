from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.explain.faces import as_rgb, read_crops
from affect_training.explain.network import Opened

from affect.errors import MediaError
from affect.inference.checkpoint import InputSpec
from affect.inference.device import Device
from affect.types import ByteArray


@pytest.fixture
def spec(corner: Opened) -> InputSpec:
    return corner.spec


def write(path: Path, image: ByteArray) -> Path:
    cv2.imwrite(str(path), image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1]))
    return path


def test_the_largest_face_of_a_picture_is_cut(
    astronaut: ByteArray, spec: InputSpec, cpu: Device, tmp_path: Path
) -> None:
    # The same face twice, the second half as large.
    small = np.asarray(cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    both = np.concatenate([np.pad(small, ((0, 256), (0, 0), (0, 0))), astronaut], axis=1)
    (face,), problems = read_crops([write(tmp_path / "both.png", both)], spec, cpu, cropped=False)
    assert problems == []
    assert face.name == "both"
    assert face.crop.shape == (1, 1, 48, 48)
    (alone,), _ = read_crops([write(tmp_path / "alone.png", astronaut)], spec, cpu, cropped=False)
    assert float((face.crop - alone.crop).abs().mean()) < 0.05


def test_a_cropped_face_of_the_right_size_passes_unchanged(spec: InputSpec, cpu: Device, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    (face,), _ = read_crops([write(tmp_path / "face.png", image)], spec, cpu, cropped=True)
    assert np.array_equal(face.picture()[:, :, 0], image)
    assert face.picture().shape == (48, 48, 3)


def test_a_bad_picture_costs_only_itself(spec: InputSpec, cpu: Device, tmp_path: Path) -> None:
    write(tmp_path / "good.png", np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    faces, problems = read_crops([tmp_path], spec, cpu, cropped=True)
    assert [face.name for face in faces] == ["good"]
    assert len(problems) == 1
    assert "bad.png" in problems[0]


def test_pictures_of_several_folders_have_names_of_their_own(spec: InputSpec, cpu: Device, tmp_path: Path) -> None:
    image = np.zeros((48, 48), np.uint8)
    for name in ("a/b.png", "a-b.png", "out/a-b.gradcam.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, image)
    faces, _ = read_crops([tmp_path], spec, cpu, cropped=True, out=tmp_path / "out")
    assert sorted(face.name for face in faces) == ["a-b", "a-b-2"]
    named, _ = read_crops([tmp_path / "a-b.png"], spec, cpu, cropped=True, out=tmp_path)
    same, _ = read_crops([tmp_path / "a"], spec, cpu, cropped=True, out=tmp_path / "a")
    assert (len(named), len(same)) == (1, 1)  # outputs beside the pictures are no reason to leave these out


def test_no_face_at_all_is_an_error_that_says_what_to_do(spec: InputSpec, cpu: Device, tmp_path: Path) -> None:
    flat = write(tmp_path / "wall.png", np.full((120, 160, 3), 128, np.uint8))
    with pytest.raises(MediaError, match=r"wall\.png: no face found; pass --cropped"):
        read_crops([flat], spec, cpu, cropped=False)


def test_rgb_crops_stay_in_colour() -> None:
    import torch

    crop = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1).expand(3, 4, 4)
    assert as_rgb(crop)[0, 0].tolist() == [255, 128, 0]
