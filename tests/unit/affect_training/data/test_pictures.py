from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.data.pictures import Box, PictureFile, grey_face, read_pictures, stamp
from numpy.typing import NDArray

from affect.errors import MediaError


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_a_face_of_48_pixels_stays_as_it_is() -> None:
    image = noise(48, 48)
    np.testing.assert_array_equal(grey_face(png(image), None, "a"), image)
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    np.testing.assert_array_equal(grey_face(png(np.asarray(colour, np.uint8)), None, "a"), image)


def test_a_larger_face_is_averaged() -> None:
    image = noise(96, 96)
    means = image.reshape(48, 2, 48, 2).astype(float).mean((1, 3))
    assert np.abs(grey_face(png(image), None, "a") - means).max() <= 0.5


def test_a_smaller_face_is_enlarged_smoothly() -> None:
    image = np.zeros((24, 24), np.uint8)
    image[:, 12:] = 200
    found = grey_face(png(image), None, "a")
    assert found.shape == (48, 48)
    assert found[:, :18].max() == 0
    assert len(np.unique(found[20])) > 2  # an edge of more than one grey


def test_colour_becomes_luma() -> None:
    image = np.zeros((48, 48, 3), np.uint8)
    image[..., 2] = 255  # red, OpenCV's order
    assert np.unique(grey_face(png(image), None, "a")).tolist() == [76]


def test_the_box_is_cut_out() -> None:
    image = noise(200, 300)
    np.testing.assert_array_equal(grey_face(png(image), (100, 60, 48, 48), "a"), image[60:108, 100:148])


def test_an_oblong_box_becomes_the_square_around_it() -> None:
    image = noise(200, 300)
    np.testing.assert_array_equal(grey_face(png(image), (100, 60, 24, 48), "a"), image[60:108, 88:136])


def test_beyond_the_picture_its_border_repeats() -> None:
    image = noise(48, 48)
    found = grey_face(png(image), (-10, 0, 48, 48), "a")
    np.testing.assert_array_equal(found[:, 10:], image[:, :38])
    np.testing.assert_array_equal(found[:, :10], image[:, :1].repeat(10, axis=1))


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.0, 10.0), (60.0, 0.0, 10.0, 10.0), (0.0, -20.0, 10.0, 10.0)])
def test_a_box_outside_is_refused(box: Box) -> None:
    with pytest.raises(MediaError, match=r"x/y.png: expected a box x, y, width, height inside 48x40 pixels, got"):
        grey_face(png(noise(40, 48)), box, "x/y.png")


@pytest.mark.parametrize("data", [b"", b"hello", png(noise(48, 48))[:300]], ids=["empty", "text", "cut"])
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(MediaError, match=r"x/y.png: "):
        grey_face(data, None, "x/y.png")


def test_pictures_lie_in_files_or_in_parts_of_files(tmp_path: Path) -> None:
    one, two = png(noise(48, 48, 1)), png(noise(48, 48, 2))
    (tmp_path / "both").write_bytes(one + two)
    (tmp_path / "two.png").write_bytes(two)
    table, _ = read_pictures(
        [
            PictureFile(tmp_path / "both", "a", 3, size=len(one)),
            PictureFile(tmp_path / "both", "b", 4, 2, offset=len(one), size=len(two), group="g"),
            PictureFile(tmp_path / "two.png", "c", 5, 1),
        ]
    )
    np.testing.assert_array_equal(table.images, [noise(48, 48, seed) for seed in (1, 2, 2)])
    assert table.labels.tolist() == [3, 4, 5]
    assert table.usage.tolist() == [0, 2, 1]
    assert table.groups == ("", "g", "")


def test_a_stamp_changes_with_label_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(noise(48, 48)))
    first = stamp([PictureFile(path, "a", 0)])
    assert stamp([PictureFile(path, "a", 0)]) == first
    assert stamp([PictureFile(path, "a", 1)]) != first
    path.write_bytes(png(noise(48, 48)) + b"x")
    assert stamp([PictureFile(path, "a", 0)]) != first


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = PictureFile(tmp_path / "no.png", "list.csv, row 3: no.png", 0)
    for read in (stamp, read_pictures):
        with pytest.raises(MediaError, match=r"list.csv, row 3: no.png: cannot be read"):
            read([file])
