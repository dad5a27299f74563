"""FER2013 in the Kaggle format, parsed once and kept as a cache; blank images dropped and counted."""

import csv
import gzip
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from affect.errors import MediaError

SIDE = 48
SPLITS = ("Training", "PublicTest", "PrivateTest")


@dataclass(frozen=True, slots=True)
class Split:
    """Faces of one split: `images` uint8 [N, 48, 48], `labels` int64 [N], `rows` int64 [N] in the file."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Fer2013:
    """The whole file: its splits, how many blank images were dropped, and its sha256."""

    splits: dict[str, Split]
    blank: dict[str, int]
    sha256: str

    def split(self, name: str) -> Split:
        """Return a split.

        Raises:
            MediaError: The file has no such split.
        """
        if name not in self.splits:
            raise MediaError(f"the data has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def load_fer2013(path: Path, cache: Path | None = None) -> Fer2013:
    """Read `fer2013.csv` or `fer2013.csv.gz` with the columns emotion, pixels, Usage.

    Args:
        path: The file, or a folder that holds one of the two names.
        cache: Folder for the parsed arrays; none are written without it.

    Raises:
        MediaError: No such file, a missing column, a wrong pixel count or an unknown label; names file and row.
    """
    if path.is_dir():
        found = [path / name for name in ("fer2013.csv", "fer2013.csv.gz") if (path / name).exists()]
        if not found:
            raise MediaError(f"{path}: expected fer2013.csv or fer2013.csv.gz in it")
        path = found[0]
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = cache / f"fer2013-{sha256[:16]}.npz" if cache else None
    if kept is not None and kept.exists():
        with np.load(kept) as arrays:
            images, labels, usage = arrays["images"], arrays["labels"], arrays["usage"]
    else:
        images, labels, usage = _parse(path)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(f".{os.getpid()}.npz")
            np.savez_compressed(partial, images=images, labels=labels, usage=usage)
            partial.replace(kept)
    blank_row = images.reshape(len(images), -1).std(axis=1) < 1.0
    splits: dict[str, Split] = {}
    blank: dict[str, int] = {}
    for index, name in enumerate(SPLITS):
        rows = np.flatnonzero(usage == index)
        if not len(rows):
            continue
        good = rows[~blank_row[rows]]
        blank[name] = len(rows) - len(good)
        splits[name] = Split(images[good], labels[good].astype(np.int64), good.astype(np.int64))
    return Fer2013(splits, blank, sha256)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="")
    return path.open(newline="", encoding="utf-8")


def _parse(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.int8]]:
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    usage: list[int] = []
    with _open(path) as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        missing = {"emotion", "pixels", "Usage"} - set(columns)
        if missing:
            raise MediaError(f"{path}: expected columns emotion,pixels,Usage, got {','.join(columns)}")
        for number, row in enumerate(reader, start=2):
            try:
                pixels = np.array((row["pixels"] or "").split(), dtype=np.int64)
            except ValueError:
                pixels = np.empty(0, np.int64)
            if pixels.size != SIDE * SIDE or pixels.min() < 0 or pixels.max() > 255:
                raise MediaError(f"{path}, row {number}: expected {SIDE * SIDE} pixels 0-255, got {pixels.size}")
            if row["emotion"] not in set("0123456"):
                raise MediaError(f"{path}, row {number}: expected an emotion 0-6, got {row['emotion']!r}")
            if row["Usage"] not in SPLITS:
                raise MediaError(f"{path}, row {number}: expected Usage {'|'.join(SPLITS)}, got {row['Usage']!r}")
            images.append(pixels.astype(np.uint8).reshape(SIDE, SIDE))
            labels.append(int(row["emotion"]))
            usage.append(SPLITS.index(row["Usage"]))
    if not images:
        raise MediaError(f"{path}: expected rows below the header, got none")
    return np.stack(images), np.array(labels, np.int8), np.array(usage, np.int8)
