import csv
from pathlib import Path

import pytest
from affect_training.learner.labels import read_labelled

from affect.errors import MediaError, SettingsError
from affect.labels import LearnerState

from .conftest import FACES, PEOPLE, write_faces

HEAD = ["ClipID", "Boredom", "Engagement", "Confusion", "Frustration "]  # DAiSEE's own, blank and all


def test_faces_come_from_a_tar_in_order_of_person_and_clip(toy_faces: Path) -> None:
    found = read_labelled(toy_faces, "train")
    assert found.kind == "faces"
    assert len(found) == PEOPLE * FACES
    assert found.people == sorted(found.people)
    assert found.items[0].levels.keys() == set(found.levels())
    assert str(found) == f"{PEOPLE * FACES} faces of {PEOPLE} people, {toy_faces.name} train"
    assert isinstance(found.items[0].source, bytes)


def test_unpacked_folders_are_the_same_data(toy_faces: Path, tmp_path: Path) -> None:
    plain = write_faces(tmp_path / "plain", archive=False)
    one, two = read_labelled(toy_faces, "val"), read_labelled(plain, "val")
    assert one.items == two.items
    assert one.sha256 == two.sha256
    assert read_labelled(toy_faces, "train").sha256 != one.sha256


def test_a_split_that_is_not_there_is_named_with_those_that_are(toy_faces: Path) -> None:
    with pytest.raises(SettingsError, match="no split 'test'; it has train, val"):
        read_labelled(toy_faces, "test")


def test_without_a_column_the_first_folder_is_the_split(tmp_path: Path) -> None:
    write_faces(tmp_path)
    rows = list(csv.DictReader((tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines()))
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [name for name in rows[0] if name not in ("split", "clip")], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    assert len(read_labelled(tmp_path, "val")) == 4 * FACES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("boredom", "4"), "a level is 0, 1, 2 or 3, not '4'"),
        (("boredom", ""), "not ''"),
        (("file", "train/none.png"), "1 of 192 files are neither here nor in a .tar: train/none.png"),
    ],
)
def test_wrong_rows_are_named(toy_faces: Path, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    rows = list(csv.DictReader((toy_faces / "labels.csv").read_text(encoding="utf-8").splitlines()))
    rows[3][change[0]] = change[1]
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (tmp_path / "faces.tar").write_bytes((toy_faces / "faces.tar").read_bytes())
    with pytest.raises(MediaError, match=message):
        read_labelled(tmp_path, "train")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,split,subject\na,train,b\n", encoding="utf-8")
    with pytest.raises(MediaError, match="no column boredom, confusion, engagement, frustration"):
        read_labelled(tmp_path, "train")


def test_another_folder_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected labels\.csv .* DAiSEE's folders"):
        read_labelled(tmp_path, "train")


def daisee(folder: Path, *, clips: bool = True) -> Path:
    (folder / "Labels").mkdir()
    with (folder / "Labels" / "TestLabels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(HEAD)
        table.writerow(["5000441001.avi", 0, 2, 0, 0])
        table.writerow(["5000441002.avi", 3, 1, 0, 2])
        table.writerow(["1100011002.avi", 1, 3, 0, 0])
    for person, clip in (("500044", "5000441001"), ("500044", "5000441002")) if clips else ():
        path = folder / "DataSet" / "Test" / person / clip / f"{clip}.avi"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"a video")
    return folder


def test_clips_come_in_daisees_own_layout(tmp_path: Path) -> None:
    found = read_labelled(daisee(tmp_path), "test")
    assert found.kind == "clips"
    assert [item.name for item in found.items] == ["5000441001.avi", "5000441002.avi"]
    assert found.people == ["500044", "500044"]
    assert found.items[1].levels[LearnerState.FRUSTRATION] == 2
    assert found.items[1].source == tmp_path / "DataSet" / "Test" / "500044" / "5000441002" / "5000441002.avi"


def test_clips_that_are_not_there_are_an_error_when_none_is(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none of the 3 clips of TestLabels\.csv is here"):
        read_labelled(daisee(tmp_path, clips=False), "test")
    with pytest.raises(SettingsError, match="splits here: Test"):
        read_labelled(tmp_path, "validation")
