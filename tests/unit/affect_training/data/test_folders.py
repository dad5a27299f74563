import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.data import load_faces
from affect_training.data.folders import list_folder
from affect_training.data.labels import LabelMap
from affect_training.data.leaks import find_leaks
from numpy.typing import NDArray

from affect.errors import ErrorCode, MediaError


def face(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", face(seed))[1].tobytes())


def packed(folder: Path) -> Path:
    """The folder as a tar file beside it."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    return path


def error(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        load_faces(path)
    assert caught.value.code is ErrorCode.BAD_MEDIA
    return caught.value.message


@pytest.mark.parametrize("tar", [False, True])
def test_splits_and_classes_are_folders(tmp_path: Path, tar: bool) -> None:
    folder = tmp_path / "set"
    picture(folder / "train/angry/b.png", 0)
    picture(folder / "train/angry/a.png", 1)
    picture(folder / "train/happy/c.png", 2)
    picture(folder / "test/neutral/d.png", 3)
    picture(folder / "Validation/Sad/e.png", 4)
    data = load_faces(packed(folder) if tar else folder)
    training = data.split("Training")
    np.testing.assert_array_equal(training.images, [face(1), face(0), face(2)])  # by the sorted paths
    assert training.labels.tolist() == [0, 0, 3]
    assert training.rows.tolist() == [2, 3, 4]
    assert data.split("PublicTest").labels.tolist() == [4]
    assert data.split("PrivateTest").labels.tolist() == [6]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Training", "Training"),
        ("train", "Training"),
        ("PublicTest", "PublicTest"),
        ("val", "PublicTest"),
        ("validation", "PublicTest"),
        ("PrivateTest", "PrivateTest"),
        ("test", "PrivateTest"),
    ],
)
def test_splits_have_many_names(tmp_path: Path, name: str, split: str) -> None:
    picture(tmp_path / name / "fear/a.png")
    assert list(load_faces(tmp_path).splits) == [split]


def test_class_folders_alone_are_training(tmp_path: Path) -> None:
    picture(tmp_path / "disgust/a.png")
    data = load_faces(tmp_path)
    assert data.split("Training").labels.tolist() == [1]
    with pytest.raises(MediaError, match="no split 'PublicTest'; it has Training"):
        data.split("PublicTest")


def test_a_toml_file_tells_what_labels_mean(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "joy_high/a.png")
    picture(folder / "contempt/b.png")
    table = '[labels]\njoy_high = "happy"\ncontempt = "ignore"\n'
    (tmp_path / "set.toml").write_text(table)
    assert load_faces(folder).split("Training").labels.tolist() == [3]
    assert load_faces(packed(folder)).split("Training").labels.tolist() == [3]
    (tmp_path / "set.toml").unlink()
    (folder / "faces.toml").write_text(table)
    assert load_faces(folder).split("Training").labels.tolist() == [3]


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    picture(tmp_path / "sad/a.png")
    picture(tmp_path / "sad/._a.png")
    picture(tmp_path / ".thumbnails/sad/a.png")
    (tmp_path / "sad/Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.md").write_text("x")
    assert [file.path.name for file in list_folder(tmp_path, LabelMap())] == ["a.png"]


@pytest.mark.parametrize("tar", [False, True])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train/rage/a.png", "train/rage/a.png: expected a label angry, disgust, .*, got 'rage'"),
        ("dev/sad/a.png", "dev/sad/a.png: expected a split training, .*, got 'dev'"),
        ("a.png", "expected label/name.jpg or split/label/name.jpg, got a.png"),
        ("x/train/sad/a.png", "expected label/name.jpg or split/label/name.jpg, got x/train/sad/a.png"),
        ("sad/a.bmp", "expected pictures .jpg, .*, got sad/a.bmp; convert it"),
        ("sad/a.txt", "expected pictures label/name.jpg or split/label/name.jpg in it, got none"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, told: str, tar: bool) -> None:
    folder = tmp_path / "set"
    picture(folder / name)
    path = packed(folder) if tar else folder
    with pytest.raises(MediaError, match=f"{path}.*{told}"):
        load_faces(path)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "sad/a.png")
    (folder / "sad/a.png").write_bytes(b"nothing")
    assert error(folder).startswith(f"{folder / 'sad/a.png'}: expected a JPEG, PNG or WebP picture")
    assert error(packed(folder)).startswith(f"{tmp_path / 'set.tar'}:sad/a.png: expected a JPEG")


@pytest.mark.parametrize("data", [b"", b"no tar" * 200])
def test_what_is_no_tar_file_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.tar"
    path.write_bytes(data)
    assert error(path).startswith(f"{path}: expected ")


def test_a_compressed_tar_file_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "set/sad/a.png")
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "set", ".")
    assert error(path).startswith(f"{path}: expected an uncompressed tar file")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "train/angry/a.png", 0)
    picture(tmp_path / "elsewhere/sad/b.png", 1)
    (folder / "val").symlink_to(tmp_path / "elsewhere")
    (folder / "train/again").symlink_to(folder)  # no end
    (folder / "train/again").unlink()
    (folder / "train/angry/up").symlink_to(folder / "train")
    data = load_faces(folder)
    assert data.split("PublicTest").labels.tolist() == [4]
    assert data.split("Training").labels.tolist() == [0]


def test_hard_links_in_a_tar_are_faces_too(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "train/angry/a.png", 0)
    (folder / "val/angry").mkdir(parents=True)
    (folder / "val/angry/b.png").hardlink_to(folder / "train/angry/a.png")
    data = load_faces(packed(folder))
    for split in ("Training", "PublicTest"):
        np.testing.assert_array_equal(data.split(split).images, [face(0)])


def test_rows_name_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for k, name in enumerate(("train/angry/a.png", "train/happy/b.png", "test/sad/c.png")):
        picture(folder / name, k // 2)
    for _ in range(2):  # the second time from the cache
        data = load_faces(folder, tmp_path / "cache")
        assert data.names is not None
        training = [data.names[row] for row in data.split("Training").rows]
        assert training == [str(folder / "train/angry/a.png"), str(folder / "train/happy/b.png")]
    text = find_leaks(data).to_text()
    assert f"Training {folder / 'train/angry/a.png'} angry, Training {folder / 'train/happy/b.png'} happy" in text
    assert find_leaks(data).to_json()["conflicts"][0][0][3] == str(folder / "train/angry/a.png")
