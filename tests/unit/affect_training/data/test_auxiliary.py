import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.data import load, load_aux
from numpy.typing import NDArray

from affect.errors import MediaError


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (96, 96), np.uint8)


def picture(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "web/angry/00001.jpg", noise(0))
    picture(tmp_path / "web/happy/00001.jpg", noise(1))
    picture(tmp_path / "web/happy/00002.jpg", np.full((96, 96), 50, np.uint8))
    picture(tmp_path / "loose/sad/00001.jpg", noise(2))
    with tarfile.open(tmp_path / "posed.tar", "w") as tar:
        tar.add(tmp_path / "loose/sad/00001.jpg", "surprise/00001.jpg")
    return tmp_path


def test_sets_follow_each_other_weighted_and_at_48_pixels(root: Path) -> None:
    found = load_aux(["posed", "web"], root, weight=0.25)
    split = found.split
    assert list(found.sha256) == ["posed", "web"]
    assert split.labels.tolist() == [5, 0, 3]
    assert split.rows.tolist() == [0, 0, 1]  # within their set; the blank one is gone
    assert split.weights is not None
    assert split.weights.dtype == np.float32
    assert split.weights.tolist() == [0.25] * 3
    assert split.images.shape == (3, 48, 48)
    means = noise(2).reshape(48, 2, 48, 2).astype(float).mean((1, 3))
    assert np.abs(split.images[0] - means).mean() < 3  # JPEG


def test_blank_pictures_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_aux(["web"], root, weight=1)
    assert f"{root / 'web'}: 1 blank images dropped" in caplog.text


def test_only_training_is_taken_of_a_set_with_splits(root: Path) -> None:
    picture(root / "split/train/fear/a.jpg", noise(3))
    picture(root / "split/test/sad/b.jpg", noise(4))
    assert load_aux(["split"], root, weight=1).split.labels.tolist() == [2]


def test_a_set_may_be_a_list(root: Path) -> None:
    (root / "listed.csv").write_text("file,joy\nweb/angry/00001.jpg,4\n")
    (root / "listed.toml").write_text('[labels]\n4 = "happy"\n[list]\npath = "file"\nlabel = "joy"\n')
    assert load_aux(["listed"], root, weight=1).split.labels.tolist() == [3]


def test_an_unknown_label_is_told_with_its_file(root: Path) -> None:
    picture(root / "web/rage/a.jpg", noise(3))
    with pytest.raises(MediaError, match=r"web, rage/a.jpg: expected a label angry, .*, got 'rage'"):
        load_aux(["web"], root, weight=1)


def test_an_unknown_set_is_told_with_those_there_are(root: Path) -> None:
    with pytest.raises(MediaError, match=r"expected an auxiliary set 'more', got loose, posed.tar, web"):
        load_aux(["more"], root, weight=1)
    with pytest.raises(MediaError, match="name at least one"):
        load_aux([], root, weight=1)


def test_a_set_without_training_faces_is_told(root: Path) -> None:
    picture(root / "held/test/sad/b.jpg", noise(4))
    with pytest.raises(MediaError, match="held: expected Training faces, got none"):
        load_aux(["held"], root, weight=1)


def test_a_set_is_parsed_once_and_again_when_it_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = root / "cache"
    first = load_aux(["web"], root, weight=1, cache=cache)
    with monkeypatch.context() as patched:
        patched.setattr(load, "read_pictures", lambda _: pytest.fail("parsed again"))
        second = load_aux(["web"], root, weight=1, cache=cache)
    np.testing.assert_array_equal(second.split.images, first.split.images)
    assert second.sha256 == first.sha256
    picture(root / "web/angry/00001.jpg", noise(9))
    third = load_aux(["web"], root, weight=1, cache=cache)
    assert (third.split.images[0] != first.split.images[0]).any()
    assert third.sha256 != first.sha256
