"""FER2013 as Kaggle gives it: one CSV row a face, its 2304 grey levels as text.

Two files are in circulation, each plain or packed by gzip:

    fer2013.csv          emotion,pixels,Usage
    icml_face_data.csv   emotion, Usage, pixels        (spaces before the names, other order)

Columns are found by name, spaces around names and values do not count, other columns are ignored. `emotion` is
0-6 in the order of `affect.labels.EMOTIONS`, `Usage` one of Training, PublicTest, PrivateTest. A column `group`, where
someone has added it, groups the faces for reports.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from affect.errors import MediaError
from affect.types import ByteArray
from affect_training.data.faces import SIDE, SPLITS, FaceTable

NAMES = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
COLUMNS = ("emotion", "pixels", "Usage")
_EMOTIONS = {str(k): k for k in range(7)}
_PIXELS = re.compile(r"[0-9\s]*")  # white space as `split` sees it

csv.field_size_limit(2**27)  # that larger pictures are told by their pixels, not by csv's limit


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a text file, unpacking gzip by its first bytes.

    Raises:
        MediaError: The file cannot be read, is cut, is not UTF-8 or not CSV; names it.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        opened: IO[str]
        if packed:
            opened = gzip.open(path, "rt", newline="", encoding="utf-8-sig")  # noqa: SIM115
        else:
            opened = path.open(newline="", encoding="utf-8-sig")
        with opened as file:
            yield file
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as exc:
        raise MediaError(f"{path}: cannot be read as text: {exc}") from exc


def columns(path: Path) -> tuple[str, ...]:
    """Return the names of a CSV file's first row, without the spaces around them."""
    with open_text(path) as file:
        return tuple(name.strip() for name in next(csv.reader(file), ()))


def read_fer2013(path: Path) -> FaceTable:
    """Read all rows, in order.

    Raises:
        MediaError: A missing column, a wrong pixel count or value, an unknown emotion or Usage, or no row; names
            file and row as an editor counts (the header is row 1) and what was expected.
    """
    images: list[ByteArray] = []
    labels: list[int] = []
    usage: list[int] = []
    groups: list[str] = []
    with open_text(path) as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, ())]
        if set(COLUMNS) - set(names):
            raise MediaError(f"{path}: expected columns {','.join(COLUMNS)}, got {','.join(names)}")
        emotion, pixels, split = (names.index(name) for name in COLUMNS)
        group = names.index("group") if "group" in names else None
        for row in reader:
            if not row:
                continue
            where = f"{path}, row {reader.line_num}"
            row += [""] * (len(names) - len(row))
            images.append(_image(row[pixels], where))
            label, part = row[emotion].strip(), row[split].strip()
            if label not in _EMOTIONS:
                raise MediaError(f"{where}: expected an emotion 0-6, got {label!r}")
            if part not in SPLITS:
                raise MediaError(f"{where}: expected Usage {'|'.join(SPLITS)}, got {part!r}")
            labels.append(_EMOTIONS[label])
            usage.append(SPLITS.index(part))
            if group is not None:
                groups.append(row[group].strip())
    if not images:
        raise MediaError(f"{path}: expected rows below the header, got none")
    return FaceTable(
        np.stack(images), np.array(labels, np.int8), np.array(usage, np.int8), tuple(groups) if any(groups) else None
    )


def _image(text: str, where: str) -> ByteArray:
    words = text.split()
    if len(words) != SIDE * SIDE:
        raise MediaError(f"{where}: expected {SIDE * SIDE} pixels 0-255, got {len(words)}")
    try:
        if _PIXELS.fullmatch(text) is None:  # int("1_0") is 10
            raise ValueError(text)
        return np.frombuffer(bytes(map(int, words)), np.uint8).reshape(SIDE, SIDE)
    except ValueError as exc:
        bad = next(
            word for word in words if not (word.isascii() and word.isdigit() and len(word) < 4 and int(word) < 256)
        )
        raise MediaError(f"{where}: expected {SIDE * SIDE} pixels 0-255, got {bad[:20]!r} among them") from exc
