import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from affect_training.data import load_faces
from numpy.typing import NDArray

from affect.errors import ErrorCode, MediaError

HEADER = "emotion,pixels,Usage"


def face(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)


def row(label: int | str, image: NDArray[np.uint8] | str, usage: str = "Training") -> str:
    pixels = image if isinstance(image, str) else " ".join(str(p) for p in image.ravel())
    return f"{label},{pixels},{usage}"


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


GOOD = (row(3, face(0)), row(6, face(1), "PublicTest"), row(0, face(2)), row(5, face(3), "PrivateTest"))
BLANK = np.full((48, 48), 17, np.uint8)


def error(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        load_faces(path)
    assert caught.value.code is ErrorCode.BAD_MEDIA
    return caught.value.message


def test_faces_labels_and_rows_are_read_by_split(tmp_path: Path) -> None:
    path = write(tmp_path / "fer2013.csv", *GOOD)
    found = load_faces(path)
    training = found.split("Training")
    assert len(training) == 2
    np.testing.assert_array_equal(training.images, [face(0), face(2)])
    assert training.images.dtype == np.uint8
    assert training.labels.tolist() == [3, 0]
    assert training.labels.dtype == np.int64
    assert training.rows.tolist() == [0, 2]
    assert found.split("PublicTest").labels.tolist() == [6]
    assert found.split("PrivateTest").rows.tolist() == [3]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_columns_and_orders_do_no_harm(tmp_path: Path) -> None:
    pixels = " ".join(str(p) for p in face(0).ravel())
    path = write(tmp_path / "a.csv", f"Training,note,4,{pixels}", header="Usage,note,emotion,pixels")
    assert load_faces(path).split("Training").labels.tolist() == [4]


def test_a_packed_file_is_the_same(tmp_path: Path) -> None:
    plain = write(tmp_path / "fer2013.csv", *GOOD)
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, other = load_faces(plain), load_faces(packed)
    for name in ("Training", "PublicTest", "PrivateTest"):
        np.testing.assert_array_equal(one.split(name).images, other.split(name).images)


def test_the_other_file_of_kaggle_is_the_same(tmp_path: Path) -> None:
    """icml_face_data.csv: spaces before the names, another order."""
    pixels = [" ".join(str(p) for p in face(seed).ravel()) for seed in (0, 1)]
    rows = [f"3, Training, {pixels[0]}", f"6,PublicTest,{pixels[1]}"]
    found = load_faces(write(tmp_path / "icml_face_data.csv", *rows, header="emotion, Usage, pixels"))
    np.testing.assert_array_equal(found.split("Training").images, [face(0)])
    assert found.split("PublicTest").labels.tolist() == [6]
    assert found.split("PublicTest").rows.tolist() == [1]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([HEADER, *GOOD]), encoding="utf-8-sig")
    assert len(load_faces(path).split("Training")) == 2


def test_groups_are_read_where_there_are_some(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", row(3, BLANK) + ",x", row(3, face(0)) + ", dark", header=HEADER + ",group")
    assert load_faces(path).split("Training").groups == ("dark",)
    assert load_faces(write(path, *GOOD)).split("Training").groups is None


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz"])
def test_a_folder_is_searched_for_the_file(tmp_path: Path, name: str) -> None:
    text = "\n".join([HEADER, *GOOD]).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert len(load_faces(tmp_path).split("Training")) == 2


def test_blank_images_are_dropped_and_counted(tmp_path: Path) -> None:
    nearly = BLANK.copy()
    nearly[0, 0] = 18
    path = write(
        tmp_path / "a.csv",
        row(3, BLANK),
        row(1, face(0)),
        row(2, nearly),
        row(4, BLANK, "PublicTest"),
        row(5, face(1), "PublicTest"),
    )
    found = load_faces(path)
    assert found.blank == {"Training": 2, "PublicTest": 1}
    assert found.split("Training").labels.tolist() == [1]
    assert found.split("Training").rows.tolist() == [1]
    assert found.split("PublicTest").rows.tolist() == [4]


# Errors


def test_a_missing_split_is_named_with_those_there_are(tmp_path: Path) -> None:
    found = load_faces(write(tmp_path / "a.csv", *GOOD[:3]))
    with pytest.raises(MediaError, match="no split 'PrivateTest'; it has Training, PublicTest"):
        found.split("PrivateTest")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert error(tmp_path / "nothing.csv") == f"{tmp_path / 'nothing.csv'}: no such file"


@pytest.mark.parametrize("header", ["label,pixels,Usage", "emotion,pixels", "emotion,pixels,usage", ""])
def test_a_missing_column_is_told_with_those_that_came(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.csv", *GOOD, header=header)
    message = error(path)
    assert message.startswith(f"{path}: expected columns emotion,pixels,Usage, got {header}")


PIXELS = " ".join(["7"] * 2304)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (row(3, " ".join(["1"] * 2303)), "expected 2304 pixels 0-255, got 2303"),
        (row(3, " ".join(["1"] * 2305)), "expected 2304 pixels 0-255, got 2305"),
        (row(3, ""), "expected 2304 pixels 0-255, got 0"),
        (row(3, PIXELS[:-1] + "256"), "expected 2304 pixels 0-255, got '256' among them"),
        (row(3, PIXELS[:-1] + "-1"), "expected 2304 pixels 0-255, got '-1' among them"),
        (row(3, PIXELS[:-1] + "x"), "expected 2304 pixels 0-255, got 'x' among them"),
        (row(3, PIXELS[:-1] + "1.5"), "expected 2304 pixels 0-255, got '1.5' among them"),
        (row(3, PIXELS[:-1] + "1_0"), "expected 2304 pixels 0-255, got '1_0' among them"),
        (row(3, PIXELS[:-1] + "9" * 5000), "expected 2304 pixels 0-255, got '99999999999999999999' among them"),
        (row(3, " ".join(["255"] * 224**2)), "expected 2304 pixels 0-255, got 50176"),
        (row(7, PIXELS), "expected an emotion 0-6, got '7'"),
        (row("happy", PIXELS), "expected an emotion 0-6, got 'happy'"),
        (row("", PIXELS), "expected an emotion 0-6, got ''"),
        (row(3, PIXELS, "Test"), "expected Usage Training|PublicTest|PrivateTest, got 'Test'"),
        ("3", "expected 2304 pixels 0-255"),
    ],
    ids=[
        "short",
        "long",
        "none",
        "256",
        "-1",
        "word",
        "fraction",
        "underscore",
        "5,000 digits",
        "224 pixels",
        "label 7",
        "label word",
        "no label",
        "usage",
        "cut",
    ],
)
def test_a_bad_row_is_told_with_file_and_row(tmp_path: Path, bad: str, told: str) -> None:
    path = write(tmp_path / "a.csv", GOOD[0], GOOD[1], bad, GOOD[2])
    message = error(path)
    assert message.startswith(f"{path}, row 4: ")  # as an editor counts: the header is row 1
    assert told in message


def test_any_white_space_stands_between_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", GOOD[0], row(3, "\u00a0".join(map(str, face(4).ravel()))), GOOD[2])
    assert sum(len(split) for split in load_faces(path).splits.values()) == 3


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    assert str(path) in error(path)


@pytest.mark.parametrize("cut", [30, 60])
def test_a_cut_packed_file_is_named(tmp_path: Path, cut: int) -> None:
    packed = gzip.compress("\n".join([HEADER, *GOOD]).encode())
    path = tmp_path / "a.csv.gz"
    path.write_bytes(packed[: len(packed) * cut // 100])
    assert error(path).startswith(f"{path}: cannot be read as text")


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe\x00")
    assert error(path).startswith(f"{path}: cannot be read as text")
