"""Labelled faces as arrays: one split, all splits of a data set, and the table they are cut from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect.types import ByteArray, FloatArray

FER2013 = ("fer2013", "icml")
"""Kinds that are Kaggle's FER2013."""

DataKind = Literal["fer2013", "icml", "csv", "folders", "list"]
"""How a data set comes: Kaggle's two files of FER2013, other faces in their format, class folders, a list."""

SIDE = 48
SPLITS = ("Training", "PublicTest", "PrivateTest")
_BLANK_DEVIATION = 1.0
"""Grey levels; FER2013's blank images deviate by 0, its flattest face by 4.4."""

IndexArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Faces of one split.

    Attributes:
        images: uint8 [N, 48, 48].
        labels: int64 [N], numbers in the order of `affect.labels.EMOTIONS`.
        rows: int64 [N], the row in its table: of a CSV file 0-based, the header not counted; of pictures the place in
            `FaceData.names`.
        votes: float32 [N, 7], the FER+ votes as a distribution; all zeros where no vote counts.
        weights: float32 [N], weight in the loss; None = all 1.
        groups: Person, skin tone, ... of each face, when the data has them.
    """

    images: ByteArray
    labels: IndexArray
    rows: IndexArray
    votes: FloatArray | None = None
    weights: FloatArray | None = None
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: IndexArray | NDArray[np.bool_] | Sequence[int]) -> "Split":
        """Return the rows of an index (which may repeat rows) or a mask, in its order, with all fields."""
        chosen = np.arange(len(self), dtype=np.int64)[np.asarray(index) if len(index) else np.empty(0, np.int64)]
        return Split(
            self.images[chosen],
            self.labels[chosen],
            self.rows[chosen],
            None if self.votes is None else self.votes[chosen],
            None if self.weights is None else self.weights[chosen],
            None if self.groups is None else tuple(self.groups[k] for k in chosen),
        )

    def join(self, other: "Split") -> "Split":
        """Return both splits' faces, one after the other; what one of them lacks is filled with nothing or 1."""
        return Split(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.rows, other.rows]),
            _joined(self, other, "votes", lambda n: np.zeros((n, len(EMOTIONS)), np.float32)),
            _joined(self, other, "weights", lambda n: np.ones(n, np.float32)),
            None if self.groups is None and other.groups is None else _groups(self) + _groups(other),
        )


def _joined(first: Split, second: Split, name: str, empty: Callable[[int], FloatArray]) -> FloatArray | None:
    parts = [(getattr(split, name), len(split)) for split in (first, second)]
    if all(part is None for part, _ in parts):
        return None
    return np.concatenate([empty(count) if part is None else part for part, count in parts])


def _groups(split: Split) -> tuple[str, ...]:
    return ("",) * len(split) if split.groups is None else split.groups


@dataclass(frozen=True, slots=True)
class FaceData:
    """A data set.

    Attributes:
        splits: By their names in `SPLITS`; those it has.
        blank: How many blank images each lost.
        sha256: Of what was read; FER+ votes are not in it.
        kind: How it comes.
        path: What was named, for messages; None for faces that come from no file.
        names: File of each row (for lists, with the row of the list); None when the data is a CSV file.
    """

    splits: dict[str, Split]
    blank: dict[str, int]
    sha256: str
    kind: DataKind = "fer2013"
    path: Path | None = None
    names: tuple[str, ...] | None = None

    @property
    def is_fer2013(self) -> bool:
        """Whether it is Kaggle's FER2013, by its files' names."""
        return self.kind in FER2013

    @property
    def other_name(self) -> str | None:
        """Name of the file or folder, where it is not FER2013."""
        return None if self.is_fer2013 else self.path.name if self.path else self.kind

    def split(self, name: str) -> Split:
        """Return a split.

        Raises:
            MediaError: The data has no such split; says how it gets one.
        """
        if name not in self.splits:
            remedy = ""
            if name == SPLITS[1]:  # Kaggle's train/ and test/, RAF-DB: nothing to choose the epoch by
                remedy = "; put faces in a folder `val` (in a list: that split), or hold some out: train with --set "
                remedy += "data.holdout=0.1, judge with --holdout 0.1"
            raise MediaError(
                f"{self.path or 'the data'} has no split {name!r}; it has {', '.join(self.splits)}{remedy}"
            )
        return self.splits[name]


@dataclass(frozen=True, slots=True)
class FaceTable:
    """Every row of a source in its order, blank images too.

    Attributes:
        images: uint8 [N, 48, 48].
        labels: int8 [N].
        usage: int8 [N], index into `SPLITS`.
        groups: As in `Split`.
        names: As in `FaceData`.
    """

    images: ByteArray
    labels: NDArray[np.int8]
    usage: NDArray[np.int8]
    groups: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def divide(self, sha256: str, votes: FloatArray | None = None) -> FaceData:
        """Cut into splits; blank images are dropped and counted. `votes` are float32 [N, 7] of all rows."""
        whole = Split(
            self.images,
            self.labels.astype(np.int64),
            np.arange(len(self), dtype=np.int64),
            votes=votes,
            groups=self.groups,
        )
        good = ~is_blank(self.images)
        splits: dict[str, Split] = {}
        blank: dict[str, int] = {}
        for index, name in enumerate(SPLITS):
            inside = self.usage == index
            if inside.any():
                splits[name] = whole.take(inside & good)
                blank[name] = int((inside & ~good).sum())
        return FaceData(splits, blank, sha256, names=self.names)


def is_blank(images: ByteArray) -> NDArray[np.bool_]:
    """Say which of uint8 [N, H, W] show nothing: their grey levels deviate by less than one."""
    blank = np.zeros(len(images), np.bool_)
    for start in range(0, len(images), 4096):
        part = images[start : start + 4096].reshape(len(images[start : start + 4096]), -1)
        blank[start : start + 4096] = part.std(axis=1) < _BLANK_DEVIATION
    return blank
