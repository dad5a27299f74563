"""Auxiliary sets: faces of other origin that are mixed into Training, at a weight of their own."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np

from affect.errors import MediaError
from affect_training.data.faces import SPLITS, Split
from affect_training.data.load import picture_files
from affect_training.data.pictures import read_pictures

log = logging.getLogger(__name__)
_ENDINGS = ("", ".tar", ".toml", ".csv", ".txt")


def load_aux(names: Sequence[str], root: Path, *, weight: float) -> Split:
    """Read auxiliary sets as one split.

    Args:
        names: Sets below `root`: NAME is a folder of class folders or with a list, or `NAME.tar` of class folders, or
            a list `NAME.toml`, `NAME.csv`, `NAME.txt`; see `affect_training.data.folders` and `.lists`. Of a set with
            splits of its own only Training is taken.
        root: Where the sets are.
        weight: Weight in the loss of every face.

    Returns:
        All faces at 48x48, the sets in the order of `names`; `rows` number the faces within their set, `weights`
        are filled. Blank images are dropped.

    Raises:
        MediaError: No such set, an unknown label or an unreadable picture; names the file.
        SettingsError: The TOML file of a set is wrong.
    """
    if not names:
        raise MediaError("name at least one auxiliary set")
    return reduce(Split.join, (_weighted(_load(name, root), weight) for name in names))


def _load(name: str, root: Path) -> Split:
    path = next((root / f"{name}{end}" for end in _ENDINGS if (root / f"{name}{end}").exists()), None)
    if path is None:
        there = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        raise MediaError(f"{root}: expected an auxiliary set {name!r}, got {', '.join(there) or 'nothing'}")
    files = [file for file in picture_files(path) if file.usage == 0]
    table, sha256 = read_pictures(files)
    data = table.divide(sha256)
    if not data.splits or not len(data.split(SPLITS[0])):
        raise MediaError(f"{path}: expected {SPLITS[0]} faces, got none")
    if data.blank[SPLITS[0]]:
        log.warning("%s: %d blank images dropped", path, data.blank[SPLITS[0]])
    return data.split(SPLITS[0])


def _weighted(split: Split, weight: float) -> Split:
    return replace(split, weights=np.full(len(split), weight, np.float32))
