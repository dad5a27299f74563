import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.data import load_faces
from numpy.typing import NDArray

from affect.errors import MediaError, SettingsError


def noise(side: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def picture(path: Path, seed: int = 0, side: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", noise(side, seed))[1].tobytes())


# RAF-DB


@pytest.fixture
def raf_db(tmp_path: Path) -> Path:
    folder = tmp_path / "basic"
    (folder / "EmoLabel").mkdir(parents=True)
    rows = [*(f"train_{k:05}.jpg {k}" for k in range(1, 8)), "test_00001.jpg 4"]
    (folder / "EmoLabel/list_patition_label.txt").write_text("\n".join(rows) + "\n")
    for k, row in enumerate(rows):
        picture(folder / "Image/aligned" / row.split()[0].replace(".jpg", "_aligned.jpg"), k)
    return tmp_path


@pytest.mark.parametrize("named", [".", "basic", "basic/EmoLabel", "basic/EmoLabel/list_patition_label.txt"])
def test_raf_db_is_known(raf_db: Path, named: str) -> None:
    data = load_faces(raf_db / named)
    training = data.split("Training")
    assert training.labels.tolist() == [5, 2, 1, 3, 4, 0, 6]
    np.testing.assert_array_equal(training.images[2], noise(48, 2))
    assert data.split("PrivateTest").labels.tolist() == [3]
    assert data.split("PrivateTest").rows.tolist() == [7]


def test_raf_db_without_its_folders(tmp_path: Path) -> None:
    (tmp_path / "list_patition_label.txt").write_text("train_00001.jpg 5\n")
    picture(tmp_path / "train_00001.jpg")
    assert load_faces(tmp_path).split("Training").labels.tolist() == [4]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("train_00001.jpg 8", "row 9: expected a label 1, 2, .*, got '8'"),
        ("train_00001.jpg", "row 9: expected 2 columns, got 1"),
        ("other_1.jpg 3", "row 9: expected a name that starts with train_, test_, got 'other_1.jpg'"),
        ("train_00099.jpg 3", "row 9: .*train_00099_aligned.jpg: no such file"),
    ],
)
def test_a_bad_row_of_raf_db_is_told(raf_db: Path, row: str, told: str) -> None:
    path = raf_db / "basic/EmoLabel/list_patition_label.txt"
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(MediaError, match=f"list_patition_label.txt, {told}"):
        load_faces(raf_db)


# AffectNet

AFFECTNET = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    "1/a.png,10,20,48,48,1;2,{},0.1,0.2\n"
    "2/b.png,0,0,100,100,1;2,7,0.1,0.2\n"
)


def test_affectnet_is_known(tmp_path: Path) -> None:
    picture(tmp_path / "1/a.png", 3, side=100)
    picture(tmp_path / "2/b.png", 4, side=100)
    (tmp_path / "training.csv").write_text(AFFECTNET.format(2))
    (tmp_path / "validation.csv").write_text(AFFECTNET.format(6))
    data = load_faces(tmp_path)
    assert data.split("Training").labels.tolist() == [4]
    np.testing.assert_array_equal(data.split("Training").images[0], noise(100, 3)[20:68, 10:58])
    assert data.split("PublicTest").labels.tolist() == [0]
    alone = load_faces(tmp_path / "validation.csv")
    assert list(alone.splits) == ["PublicTest"]


@pytest.mark.parametrize("box", ["x,20,48,48", "10,20,nan,48", ",20,48,48"])
def test_a_box_that_is_none_is_told(tmp_path: Path, box: str) -> None:
    picture(tmp_path / "1/a.png", 3, side=100)
    (tmp_path / "training.csv").write_text(AFFECTNET.format(2).replace("10,20,48,48", box))
    with pytest.raises(MediaError, match=r"training.csv, row 2: expected a box of four numbers, got"):
        load_faces(tmp_path)


# Described by a TOML file

TOML = """
[labels]
joy = "happy"
contempt = "ignore"

[list]
path = "file"
label = "what"
split = "usage"
group = "skin"
images = "pictures"
"""
LIST = "usage,file,what,skin\ntrain,a.png,joy,dark\nval,b.png,sad,light\ntrain,b.png,contempt,light\n"


@pytest.fixture
def described(tmp_path: Path) -> Path:
    picture(tmp_path / "pictures/a.png", 1)
    picture(tmp_path / "pictures/b.png", 2)
    (tmp_path / "mine.csv").write_text(LIST)
    (tmp_path / "mine.toml").write_text(TOML)
    return tmp_path


@pytest.mark.parametrize("named", ["mine.csv", "mine.toml"])
def test_columns_are_told_by_a_toml_file(described: Path, named: str) -> None:
    data = load_faces(described / named)
    training = data.split("Training")
    assert training.labels.tolist() == [3]
    assert training.groups == ("dark",)
    np.testing.assert_array_equal(training.images[0], noise(48, 1))
    assert data.split("PublicTest").groups == ("light",)
    assert data.split("PublicTest").rows.tolist() == [1]


def test_a_folder_may_hold_several_lists(described: Path) -> None:
    (described / "mine.toml").unlink()
    text = TOML.replace('split = "usage"\n', 'files = {"mine.csv" = "train", "more.csv" = "test"}\n')
    (described / "faces.toml").write_text(text)
    (described / "more.csv").write_text("file,what,skin\nb.png,fear,x\n")
    data = load_faces(described)
    assert data.split("Training").labels.tolist() == [3, 4]
    assert data.split("PrivateTest").labels.tolist() == [2]


def test_a_list_without_header_has_numbered_columns(described: Path) -> None:
    (described / "mine.csv").write_text("a.png;Happiness\nb.png;FEAR\n\n")
    (described / "mine.toml").write_text('[list]\npath = 0\nlabel = 1\nseparator = ";"\nimages = "pictures"\n')
    assert load_faces(described / "mine.csv").split("Training").labels.tolist() == [3, 2]


def test_a_missing_column_is_told(described: Path) -> None:
    (described / "mine.csv").write_text(LIST.replace("what", "emotion"))
    with pytest.raises(MediaError, match=r"mine.csv: expected a column 'what', got usage,file,emotion,skin"):
        load_faces(described / "mine.csv")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("dev,a.png,joy,x", "expected a split training, .*, got 'dev'"),
        (",a.png,joy,x", "expected a split|Training"),
        ("train,a.png,rage,x", "expected a label joy, contempt, angry, .*, got 'rage'"),
        ("train,a.png", "expected 4 columns, got 2"),
    ],
)
def test_a_bad_row_is_told(described: Path, row: str, told: str) -> None:
    (described / "mine.csv").write_text(LIST + row + "\n")
    if told.endswith("|Training"):  # a row that tells no split is of the list's own
        assert len(load_faces(described / "mine.csv").split("Training")) == 2
        return
    with pytest.raises(MediaError, match=f"mine.csv, row 5: {told}"):
        load_faces(described / "mine.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[list\n", "Expected ']'"),
        ('[list]\npath = "a"\n', "list.label: Field required"),
        ('[list]\npath = "a"\nlabel = "b"\ncolor = 1\n', "list.color: Extra inputs"),
        ('[labels]\na = "happy"\n', r"expected a table \[list\] with path and label"),
        ('[list]\npath = -1\nlabel = "b"\n', "list.path"),
        ('[list]\npath = "a"\nlabel = "b"\nfiles = {"mine.csv" = "dev"}\n', "expected a split training, .*, got 'dev'"),
        ('[labels]\njoy = "bliss"\n[list]\npath = "a"\nlabel = "b"\n', "label map, 'joy': expected one of"),
    ],
)
def test_a_wrong_toml_file_is_told(described: Path, text: str, told: str) -> None:
    (described / "mine.toml").write_text(text)
    with pytest.raises(SettingsError, match=told):
        load_faces(described / "mine.toml")


def test_a_list_without_faces_is_told(described: Path) -> None:
    (described / "mine.csv").write_text("usage,file,what,skin\n")
    with pytest.raises(MediaError, match=r"expected faces in mine.csv, got none"):
        load_faces(described / "mine.csv")


def test_a_toml_file_may_tell_other_labels_of_a_known_set(raf_db: Path) -> None:
    (raf_db / "basic/EmoLabel/faces.toml").write_text('[labels]\n3 = "ignore"\n2 = "surprise"\n', encoding="utf-8-sig")
    assert load_faces(raf_db / "basic/EmoLabel").split("Training").labels.tolist() == [5, 5, 3, 4, 0, 6]


def test_affectnets_second_list_is_not_lost_for_want_of_its_first_line(tmp_path: Path) -> None:
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    row = "1/a.png,0,0,48,48,x,1,0,0\n"
    (tmp_path / "training.csv").write_text(header + row)
    (tmp_path / "validation.csv").write_text(row)
    picture(tmp_path / "1/a.png")
    with pytest.raises(MediaError, match=r"validation\.csv: expected columns .* got 1/a\.png"):
        load_faces(tmp_path)
    (tmp_path / "validation.csv").write_text(header + row)
    assert load_faces(tmp_path).split("PublicTest").labels.tolist() == [3]


@pytest.mark.parametrize("wrong", ["subDirectory_filePath,label", "path,expression"])
def test_affectnet_with_a_wrong_column_is_no_class_folder(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "training.csv").write_text(f"{wrong}\n1/a.png,1\n")
    picture(tmp_path / "1/a.png")
    with pytest.raises(MediaError, match=rf"training\.csv: expected columns .* got {wrong}"):
        load_faces(tmp_path)


def test_a_gzipped_list_finds_its_toml_file(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.toml").write_text('[list]\npath = "file"\nlabel = "said"\n')
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write("file,said\na.png,happy\n")
    assert load_faces(tmp_path / "t.csv.gz").split("Training").labels.tolist() == [3]


@pytest.mark.parametrize("cell", ["", "."])
def test_an_empty_path_is_told_with_its_row(tmp_path: Path, cell: str) -> None:
    (tmp_path / "t.toml").write_text('[list]\npath = "file"\nlabel = "said"\n')
    (tmp_path / "t.csv").write_text(f"file,said\n{cell},happy\n")
    with pytest.raises(MediaError, match=r"t\.csv, row 2: expected the path of a picture"):
        load_faces(tmp_path / "t.csv")


def test_a_box_of_another_scale_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.toml").write_text('[list]\npath = "file"\nlabel = "said"\nbox = ["x", "y", "w", "h"]\n')
    (tmp_path / "t.csv").write_text("file,said,x,y,w,h\na.png,happy,0,0,100000,100000\n")
    with pytest.raises(MediaError, match=r"row 2: a\.png: the box .* far larger than the picture of 48x48"):
        load_faces(tmp_path / "t.csv")
