import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from affect_training import data
from affect_training.data import load_fer2013
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
        load_fer2013(path)
    assert caught.value.code is ErrorCode.BAD_MEDIA
    return caught.value.message


def test_faces_labels_and_rows_are_read_by_split(tmp_path: Path) -> None:
    path = write(tmp_path / "fer2013.csv", *GOOD)
    found = load_fer2013(path)
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
    assert load_fer2013(path).split("Training").labels.tolist() == [4]


def test_a_packed_file_is_the_same(tmp_path: Path) -> None:
    plain = write(tmp_path / "fer2013.csv", *GOOD)
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, other = load_fer2013(plain), load_fer2013(packed)
    for name in ("Training", "PublicTest", "PrivateTest"):
        np.testing.assert_array_equal(one.split(name).images, other.split(name).images)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013.csv.gz"])
def test_a_folder_is_searched_for_the_file(tmp_path: Path, name: str) -> None:
    text = "\n".join([HEADER, *GOOD]).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert len(load_fer2013(tmp_path).split("Training")) == 2


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
    found = load_fer2013(path)
    assert found.blank == {"Training": 2, "PublicTest": 1}
    assert found.split("Training").labels.tolist() == [1]
    assert found.split("Training").rows.tolist() == [1]
    assert found.split("PublicTest").rows.tolist() == [4]


# Errors


def test_a_missing_split_is_named_with_those_there_are(tmp_path: Path) -> None:
    found = load_fer2013(write(tmp_path / "a.csv", *GOOD[:3]))
    with pytest.raises(MediaError, match="no split 'PrivateTest'; it has Training, PublicTest"):
        found.split("PrivateTest")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert error(tmp_path / "nothing.csv") == f"{tmp_path / 'nothing.csv'}: no such file"
    assert error(tmp_path) == f"{tmp_path}: expected fer2013.csv or fer2013.csv.gz in it"


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
        (row(3, PIXELS[:-1] + "256"), "expected 2304 pixels 0-255"),
        (row(3, PIXELS[:-1] + "-1"), "expected 2304 pixels 0-255"),
        (row(3, PIXELS[:-1] + "x"), "expected 2304 pixels 0-255"),
        (row(3, PIXELS[:-1] + "1.5"), "expected 2304 pixels 0-255"),
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


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    assert str(path) in error(path)


# Cache


def test_the_second_time_the_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.csv", *GOOD, row(1, BLANK))
    cache = tmp_path / "cache"
    first = load_fer2013(path, cache)
    assert [p.name for p in cache.iterdir()] == [f"fer2013-{first.sha256[:16]}.npz"]

    def refuse(_: Path) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(data, "_parse", refuse)
    second = load_fer2013(path, cache)
    assert second.blank == first.blank == {"Training": 1, "PublicTest": 0, "PrivateTest": 0}
    for name, split in first.splits.items():
        np.testing.assert_array_equal(second.split(name).images, split.images)
        np.testing.assert_array_equal(second.split(name).labels, split.labels)
        np.testing.assert_array_equal(second.split(name).rows, split.rows)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *GOOD)
    load_fer2013(path, tmp_path / "cache")
    write(path, row(2, face(9)))
    assert load_fer2013(path, tmp_path / "cache").split("Training").labels.tolist() == [2]
