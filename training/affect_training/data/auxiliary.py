"""Auxiliary sets: faces of other origin that are mixed into Training, at a weight of their own."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from affect.errors import MediaError
from affect_training.data.faces import SPLITS, FaceData, Split
from affect_training.data.load import picture_files, read_cached

log = logging.getLogger(__name__)
_ENDINGS = ("", ".tar", ".toml", ".csv", ".txt")


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """Auxiliary sets as one split.

    Attributes:
        split: All faces at 48x48, the sets in the order they were named; `rows` number the faces within their set,
            `weights` are filled. Blank images are dropped.
        sha256: {set: of the names, labels and contents of its pictures}.
    """

    split: Split
    sha256: dict[str, str]


def load_aux(names: Sequence[str], root: Path, *, weight: float, cache: Path | None = None) -> Auxiliary:
    """Read auxiliary sets.

    Args:
        names: Sets below `root`: NAME is a folder of class folders or with a list, or `NAME.tar` of class folders, or
            a list `NAME.toml`, `NAME.csv`, `NAME.txt`; see `affect_training.data.folders` and `.lists`. Of a set with
            splits of its own only Training is taken.
        root: Where the sets are.
        weight: Weight in the loss of every face.
        cache: Folder for the parsed arrays, as for `load_faces`.

    Raises:
        MediaError: No such set, an unknown label or an unreadable picture; names the file.
        SettingsError: The TOML file of a set is wrong.
    """
    if not names:
        raise MediaError("name at least one auxiliary set")
    sets = {name: _load(name, root, cache) for name in names}
    split = reduce(Split.join, (_weighted(sets[name].split(SPLITS[0]), weight) for name in names))
    return Auxiliary(split, {name: data.sha256 for name, data in sets.items()})


def _load(name: str, root: Path, cache: Path | None) -> FaceData:
    path = next((root / f"{name}{end}" for end in _ENDINGS if (root / f"{name}{end}").exists()), None)
    if path is None:
        there = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        raise MediaError(f"{root}: expected an auxiliary set {name!r}, got {', '.join(there) or 'nothing'}")
    table, sha256 = read_cached([file for file in picture_files(path) if file.usage == 0], cache)
    data = table.divide(sha256)
    if not data.splits or not len(data.split(SPLITS[0])):
        raise MediaError(f"{path}: expected {SPLITS[0]} faces, got none")
    if data.blank[SPLITS[0]]:
        log.warning("%s: %d blank images dropped", path, data.blank[SPLITS[0]])
    return data


def _weighted(split: Split, weight: float) -> Split:
    return replace(split, weights=np.full(len(split), weight, np.float32))
