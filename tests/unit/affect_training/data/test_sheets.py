from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.data import FaceData, Split
from affect_training.data.sheets import histogram, sample_sheet, write_png

from affect.errors import MediaError


@pytest.fixture
def split() -> Split:
    """Two angry faces of grey 60, three happy of grey 130."""
    labels = np.array([0, 3, 3, 0, 3], np.int64)
    images = np.where(labels == 0, 60, 130).astype(np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    return Split(images, labels, np.arange(5, dtype=np.int64))


def test_the_histogram_counts_every_split(split: Split) -> None:
    data = FaceData({"Training": split, "PublicTest": split.take([1])}, {}, "hash")
    assert {name: counts.tolist() for name, counts in histogram(data).items()} == {
        "Training": [2, 0, 0, 3, 0, 0, 0],
        "PublicTest": [0, 0, 0, 1, 0, 0, 0],
    }


def test_a_row_an_emotion_with_as_many_faces_as_there_are(split: Split) -> None:
    sheet = sample_sheet(split, per_class=4)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (7 * 50 + 2, 120 + 4 * 50 + 2)
    faces = sheet[:, 120:]
    assert (faces[:52] == 60).sum() == 2 * 48 * 48
    assert (faces == 130).sum() == 3 * 48 * 48
    assert (faces[3 * 50 + 2 : 4 * 50] == 130).sum() == 3 * 48 * 48
    assert (sheet[:50, :120] < 128).any()  # the name
    assert (sample_sheet(split, per_class=4, enlarge=2)[:, 120:] == 130).sum() == 3 * 96 * 96


def test_the_seed_chooses_the_faces() -> None:
    images = np.arange(200, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    many = Split(images, np.zeros(200, np.int64), np.arange(200, dtype=np.int64))
    np.testing.assert_array_equal(sample_sheet(many, 5, seed=1), sample_sheet(many, 5, seed=1))
    assert (sample_sheet(many, 5, seed=1) != sample_sheet(many, 5, seed=2)).any()


def test_a_sheet_is_written_as_png(split: Split, tmp_path: Path) -> None:
    sheet = sample_sheet(split)
    write_png(sheet, tmp_path / "a.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_GRAYSCALE), sheet)


def test_where_it_cannot_be_written_is_told(split: Split, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a.jpg: expected a name that ends in .png"):
        write_png(sample_sheet(split), tmp_path / "a.jpg")
    with pytest.raises(MediaError, match=r"a.png: cannot be written"):
        write_png(sample_sheet(split), tmp_path / "none/a.png")
