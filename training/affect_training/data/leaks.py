"""Photographs that occur more than once in a data set: within a split, across splits, under different labels."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect_training.data.duplicates import ALIKE, find_pairs
from affect_training.data.faces import SPLITS, FaceData, IndexArray, Split

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True, slots=True)
class Face:
    """A face of the data: its split, its row (as in `Split.rows`) and its label."""

    split: str
    row: int
    label: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two faces that show one photograph; see `duplicates.Pair`."""

    first: Face
    second: Face
    correlation: float
    mirrored: bool
    identical: bool


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What `find_leaks` found.

    Attributes:
        faces: Faces of each split.
        duplicates: All pairs.
        names: Files of pictures by their rows, as in `FaceData`.
    """

    faces: dict[str, int]
    duplicates: tuple[Duplicate, ...]
    names: tuple[str, ...] | None = None

    def pairs(self, first: str, second: str) -> tuple[Duplicate, ...]:
        """Return the pairs within a split (the same name twice) or between two."""
        return tuple(d for d in self.duplicates if {d.first.split, d.second.split} == {first, second})

    def leaking(self, split: str, into: str) -> int:
        """Return how many faces of one split also occur in another."""
        found = self.pairs(split, into)
        return len({face for d in found for face in (d.first, d.second) if face.split == split})

    def photographs(self) -> tuple[tuple[Face, ...], ...]:
        """Return the faces of each photograph that occurs more than once; what two pairs share belongs together."""
        parent: dict[Face, Face] = {}

        def root(face: Face) -> Face:
            parent.setdefault(face, face)
            while parent[face] != face:
                parent[face] = parent[parent[face]]
                face = parent[face]
            return face

        for duplicate in self.duplicates:
            parent[root(duplicate.first)] = root(duplicate.second)
        together: dict[Face, list[Face]] = defaultdict(list)
        for face in parent:
            together[root(face)].append(face)
        return tuple(sorted(tuple(sorted(faces)) for faces in together.values()))

    def conflicts(self) -> tuple[tuple[Face, ...], ...]:
        """Return the photographs that carry more than one label."""
        return tuple(faces for faces in self.photographs() if len({face.label for face in faces}) > 1)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; a face is [split, row, label's name], of pictures with its file."""
        names = list(self.faces)
        return {
            "alike": ALIKE,
            "faces": self.faces,
            "within": {
                name: {
                    "pairs": len(self.pairs(name, name)),
                    "identical": sum(d.identical for d in self.pairs(name, name)),
                    "faces": self.leaking(name, name),
                }
                for name in names
            },
            "across": [
                {
                    "splits": [a, b],
                    "pairs": len(self.pairs(a, b)),
                    "identical": sum(d.identical for d in self.pairs(a, b)),
                    "faces": [self.leaking(a, b), self.leaking(b, a)],
                }
                for a, b in combinations(names, 2)
            ],
            "photographs": len(self.photographs()),
            "conflicts": [[self._plain(face) for face in faces] for faces in self.conflicts()],
            "duplicates": [
                {
                    "first": self._plain(d.first),
                    "second": self._plain(d.second),
                    "correlation": round(d.correlation, 4),
                    "mirrored": d.mirrored,
                    "identical": d.identical,
                }
                for d in self.duplicates
            ],
        }

    def to_text(self, conflicts: int = 20) -> str:
        """Return the report for reading, with that many of the conflicts."""
        facts = self.to_json()
        lines = [f"near-duplicates: same photograph by hash and aligned correlation of at least {ALIKE}"]
        for name, found in facts["within"].items():
            lines.append(
                f"  within {name}: {found['faces']} of {self.faces[name]} faces occur more than once "
                f"({found['pairs']} pairs, {found['identical']} identical)"
            )
        for found in facts["across"]:
            (a, b), (in_a, in_b) = found["splits"], found["faces"]
            lines.append(
                f"  {a} / {b}: {in_a} faces of {a} show {in_b} of {b} "
                f"({found['pairs']} pairs, {found['identical']} identical)"
            )
        listed = self.conflicts()
        lines.append(f"  photographs that occur more than once: {facts['photographs']}")
        lines.append(f"  of these with conflicting labels: {len(listed)}")
        for faces in listed[:conflicts]:
            lines.append("    " + ", ".join(f"{f.split} {self._name(f)} {EMOTIONS[f.label]}" for f in faces))
        if len(listed) > conflicts:
            lines.append(f"    ... and {len(listed) - conflicts} more; --json lists all")
        return "\n".join(lines)

    def _name(self, face: Face) -> str:
        return str(face.row) if self.names is None else self.names[face.row]

    def _plain(self, face: Face) -> list[str | int]:
        found: list[str | int] = [face.split, face.row, EMOTIONS[face.label].value]
        return found if self.names is None else [*found, self.names[face.row]]


def find_leaks(data: FaceData) -> LeakReport:
    """Look for every photograph that occurs more than once; FER2013 takes about a minute of one core."""
    found: list[Duplicate] = []
    names = list(data.splits)
    for name in names:
        found += _between(name, data.split(name), name, None)
    for a, b in combinations(names, 2):
        found += _between(a, data.split(a), b, data.split(b))
    return LeakReport({name: len(split) for name, split in data.splits.items()}, tuple(found), data.names)


def leaking_rows(data: FaceData, into: Sequence[str] = SPLITS[1:]) -> IndexArray:
    """Return the `rows` (int64, sorted) of Training faces that also occur in the named splits.

    Splits that the data has not are passed over.
    """
    training = data.split(SPLITS[0])
    return np.unique(training.rows[leaking(training, data, into)])


def leaking(faces: Split, data: FaceData, into: Sequence[str] = SPLITS[1:]) -> NDArray[np.bool_]:
    """Say which faces, of the data or of other origin, also occur in the named splits of the data.

    Returns:
        bool [N]. To drop them: `faces.take(~found)`.
    """
    found = np.zeros(len(faces), np.bool_)
    for name in into:
        if name not in data.splits:
            continue
        others = data.split(name).images
        log.info("looking for %d faces among the %d of %s", len(faces), len(others), name)
        if len(others) <= len(faces):  # the smaller split first: it is the one hashed in several views
            found[[pair.second for pair in find_pairs(others, faces.images)]] = True
        else:
            found[[pair.first for pair in find_pairs(faces.images, others)]] = True
    return found


def _between(first_name: str, first: Split, second_name: str, second: Split | None) -> list[Duplicate]:
    other = second or first
    log.info("looking for the %d faces of %s among the %d of %s", len(first), first_name, len(other), second_name)
    swapped = second is not None and len(first) > len(second)
    if second is None:
        pairs = find_pairs(first.images)
    elif swapped:
        pairs = find_pairs(second.images, first.images)
    else:
        pairs = find_pairs(first.images, second.images)
    found = []
    for pair in pairs:
        i, j = (pair.second, pair.first) if swapped else (pair.first, pair.second)
        found.append(
            Duplicate(
                Face(first_name, int(first.rows[i]), int(first.labels[i])),
                Face(second_name, int(other.rows[j]), int(other.labels[j])),
                pair.correlation,
                pair.mirrored,
                pair.identical,
            )
        )
    return found


def unseen(data: FaceData, name: str) -> Split:
    """Return the faces of a split that share no photograph with Training.

    What a classifier remembers of its training faces does not help it here.

    Raises:
        MediaError: There is nothing to compare with: the data has no Training, or the split is that.
    """
    faces = data.split(name)
    if name == SPLITS[0] or SPLITS[0] not in data.splits:
        raise MediaError(
            f"unseen faces of {name}: seen are those of {SPLITS[0]}, name another split of data that has it"
        )
    return faces.take(~leaking(faces, data, SPLITS[:1]))
