import gzip
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.data import fer2013, load, load_faces
from numpy.typing import NDArray
from support.tiny import tiny_faces, write_fer2013

from affect.errors import MediaError

HEADER = "emotion,pixels,Usage"


def face(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)


def csv(path: Path, *labels: int) -> Path:
    blank = " ".join(["9"] * 2304)
    rows = [f"{label},{' '.join(map(str, face(k).ravel()))},Training" for k, label in enumerate(labels)]
    path.write_text("\n".join([HEADER, *rows, f"1,{blank},PublicTest", rows[0].replace("Training", "PublicTest")]))
    return path


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", face(seed))[1].tobytes())


def refuse(*_: object) -> None:
    raise AssertionError("parsed again")


def test_the_second_time_the_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = csv(tmp_path / "a.csv", 3, 0), tmp_path / "cache"
    first = load_faces(path, cache)
    assert [p.name for p in cache.iterdir()] == [f"fer2013-{first.sha256[:16]}.npz"]
    monkeypatch.setattr(fer2013, "read_fer2013", refuse)
    second = load_faces(path, cache)
    assert second.sha256 == first.sha256
    assert second.blank == first.blank == {"Training": 0, "PublicTest": 1}
    for name, split in first.splits.items():
        np.testing.assert_array_equal(second.split(name).images, split.images)
        np.testing.assert_array_equal(second.split(name).labels, split.labels)
        np.testing.assert_array_equal(second.split(name).rows, split.rows)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    load_faces(csv(tmp_path / "a.csv", 3, 0), tmp_path / "cache")
    path = csv(tmp_path / "a.csv", 2)
    assert load_faces(path, tmp_path / "cache").split("Training").labels.tolist() == [2]


def test_pictures_are_kept_until_one_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "set", tmp_path / "cache"
    picture(folder / "train/angry/a.png", 0)
    picture(folder / "test/happy/b.png", 1)
    first = load_faces(folder, cache)
    with monkeypatch.context() as patch:
        patch.setattr(load, "read_pictures", refuse)
        second = load_faces(folder, cache)
        assert second.sha256 == first.sha256
        np.testing.assert_array_equal(second.split("PrivateTest").images, [face(1)])
    picture(folder / "train/angry/a.png", 2)
    os.utime(folder / "train/angry/a.png", ns=(0, 0))
    third = load_faces(folder, cache)
    np.testing.assert_array_equal(third.split("Training").images, [face(2)])
    assert third.sha256 != first.sha256


def test_the_hash_of_pictures_does_not_depend_on_where_they_are(tmp_path: Path) -> None:
    for name in ("one", "other"):
        picture(tmp_path / name / "angry/a.png", 0)
    assert load_faces(tmp_path / "one").sha256 == load_faces(tmp_path / "other").sha256


def test_groups_survive_the_cache(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", 3, 4)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",group", *(f"{line},g{k}" for k, line in enumerate(lines[1:]))]))
    for _ in range(2):
        assert load_faces(path, tmp_path / "cache").split("Training").groups == ("g0", "g1")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", None], ids=["empty", "cut", "other arrays"])
def test_a_damaged_cache_is_written_anew(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path, cache = csv(tmp_path / "a.csv", 3, 0), tmp_path / "cache"
    load_faces(path, cache)
    (kept,) = cache.iterdir()
    if damage is None:
        np.savez(kept, something=np.zeros(3))
    else:
        kept.write_bytes(damage)
    assert load_faces(path, cache).split("Training").labels.tolist() == [3, 0]
    assert f"{kept}: unreadable" in caplog.text
    caplog.clear()
    assert load_faces(path, cache).split("Training").labels.tolist() == [3, 0]
    assert not caplog.text


def test_a_full_disk_costs_only_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    path = csv(tmp_path / "a.csv", 3, 0)
    assert len(load_faces(path, tmp_path / "cache").split("Training")) == 2
    assert "No space left" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_votes_come_with_the_faces_and_without_the_blank(tmp_path: Path) -> None:
    names = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = ["Training,a,5,0,0,0,5,0,0,0,0,0", "PublicTest,,0,0,0,0,0,0,0,0,0,10", "PublicTest,c,0,8,0,0,0,0,0,2,0,0"]
    (tmp_path / "fer2013new.csv").write_text("\n".join([names, *rows]))
    path = csv(tmp_path / "a.csv", 3)
    for _ in range(2):
        data = load_faces(path, tmp_path / "cache", votes=True)
        votes = data.split("Training").votes, data.split("PublicTest").votes
        assert votes[0] is not None
        assert votes[0].tolist() == [[0.5, 0, 0, 0, 0, 0, 0.5]]
        assert votes[1] is not None
        assert votes[1].tolist() == [[0, 0, 0, 1, 0, 0, 0]]
    assert load_faces(path).split("Training").votes is None


def test_votes_of_pictures_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "angry/a.png", 0)
    with pytest.raises(MediaError, match=r"the FER\+ votes belong to the rows of fer2013.csv"):
        load_faces(tmp_path, votes=True)


def test_a_folder_with_nothing_is_told_what_could_be_in_it(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"expected pictures label/name.jpg or split/label/name.jpg in it, got none"):
        load_faces(tmp_path)


def test_the_csv_of_a_folder_comes_before_its_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "angry/a.png", 0)
    packed = gzip.compress(csv(tmp_path / "x.csv", 3, 3, 3).read_bytes())
    (tmp_path / "fer2013.csv.gz").write_bytes(packed)
    assert len(load_faces(tmp_path).split("Training")) == 3


def test_the_data_say_how_they_come_and_from_where(tmp_path: Path) -> None:
    kaggle = load_faces(csv(tmp_path / "fer2013.csv", 3))
    assert (kaggle.kind, kaggle.path) == ("fer2013", tmp_path / "fer2013.csv")
    assert load_faces(tmp_path).path == tmp_path / "fer2013.csv"
    assert load_faces(csv(tmp_path / "icml_face_data.csv", 3)).kind == "icml"
    picture(tmp_path / "set/angry/a.png", 0)
    folders = load_faces(tmp_path / "set")
    assert (folders.kind, folders.path) == ("folders", tmp_path / "set")
    (tmp_path / "set/list_patition_label.txt").write_text("train_1.jpg 5\n")
    picture(tmp_path / "set/train_1.jpg", 1)
    assert load_faces(tmp_path / "set").kind == "list"


@pytest.mark.parametrize("named", [".", "..", "../set"])
def test_the_folder_in_use_may_be_named_by_dots(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "set/train/angry/a.png", 0)
    monkeypatch.chdir(tmp_path / "set" / ("train" if named == ".." else ""))
    found = load_faces(Path(named))
    assert found.split("Training").labels.tolist() == [0]
    assert found.path is not None
    assert found.path.name == "set"


def test_data_to_select_an_epoch_by_that_are_missing_are_told_with_the_remedy(tmp_path: Path) -> None:
    picture(tmp_path / "set/train/angry/a.png", 0)
    picture(tmp_path / "set/test/angry/a.png", 1)
    told = (
        r"set has no split 'PublicTest'; it has Training, PrivateTest; put faces in a folder `val` .*data\.holdout=0\.1"
    )
    with pytest.raises(MediaError, match=told):
        load_faces(tmp_path / "set").split("PublicTest")


def test_only_fer2013_is_called_so(tmp_path: Path) -> None:
    for name, kind in (("fer2013.csv", "fer2013"), ("icml_face_data.csv", "icml"), ("mylab.csv", "csv")):
        assert load_faces(write_fer2013(tmp_path / name, tiny_faces())).kind == kind


def test_a_cache_with_flipped_bytes_is_written_anew(tmp_path: Path) -> None:
    source = write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    whole = load_faces(source, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npz")
    data = bytearray(kept.read_bytes())
    data[200:400] = bytes(byte ^ 0xFF for byte in data[200:400])
    kept.write_bytes(data)
    assert load_faces(source, tmp_path / "cache").sha256 == whole.sha256
    assert load_faces(source, tmp_path / "cache").split("Training").rows.tolist() == list(range(64))
