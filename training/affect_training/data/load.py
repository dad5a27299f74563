"""Any supported data set, told by looking at it; parsed once to a cache.

| what | where |
|---|---|
| FER2013 as Kaggle's CSV, plain or .gz, or a folder that holds it | `fer2013` |
| lists: AffectNet, RAF-DB, or described by a TOML file | `lists` |
| class folders, as folders or as a tar file | `folders` |
"""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import MediaError
from affect_training.data import fer2013, ferplus
from affect_training.data.faces import DataKind, FaceData, FaceTable
from affect_training.data.folders import list_folder, list_tar
from affect_training.data.labels import LabelMap
from affect_training.data.lists import find_list, list_pictures, set_file
from affect_training.data.pictures import PictureFile, read_pictures, stamp

log = logging.getLogger(__name__)


def load_faces(path: Path, cache: Path | None = None, *, votes: bool = False) -> FaceData:
    """Read a data set, dropping and counting blank images.

    Args:
        path: `fer2013.csv` or `icml_face_data.csv`, plain or .gz; a list or its TOML file; a tar file of class
            folders; or a folder that holds one of these or is one of class folders.
        cache: Folder for the parsed arrays; none are written without it. A CSV file is known again by its sha256,
            pictures by their names, labels, sizes and times.
        votes: Also read the FER+ votes beside the data; only FER2013 as CSV has them.

    Raises:
        MediaError: No such file, or one that is not as it should be; names file, row and what was expected.
        SettingsError: The TOML file of a set is wrong.
    """
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    path = named(path)
    source = _csv(path)
    if source is None:
        if votes:
            raise MediaError(f"{path}: the FER+ votes belong to the rows of fer2013.csv; name that file")
        table, sha256 = read_cached(picture_files(path), cache)
        return replace(table.divide(sha256), kind="list" if find_list(path) else "folders", path=path)
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    table, _ = _kept(cache, "fer2013", sha256, lambda: (fer2013.read_fer2013(source), sha256))
    data = table.divide(sha256, ferplus.read_votes(ferplus.find_votes(source), table) if votes else None)
    return replace(data, kind=_csv_kind(source), path=source)


def picture_files(path: Path) -> list[PictureFile]:
    """List the pictures of a list, a tar file or a folder.

    Raises:
        MediaError, SettingsError: As `load_faces`.
    """
    path = named(path)
    found = find_list(path)
    if found is not None:
        return list_pictures(found)
    labels = LabelMap(set_file(path).labels)
    return list_folder(path, labels) if path.is_dir() else list_tar(path, labels)


def read_cached(files: list[PictureFile], cache: Path | None) -> tuple[FaceTable, str]:
    """Return the table of pictures and the sha256 of their contents, from the cache as long as no file has changed.

    Raises:
        MediaError: As `read_pictures`.
    """
    return _kept(cache, "named-pictures", stamp(files), lambda: read_pictures(files))


def named(path: Path) -> Path:
    """Return a path that ends in a name, which the folder in use (`.`) and the one above (`..`) do not."""
    return path.resolve() if path.name in ("", "..") else path


def _csv(path: Path) -> Path | None:
    """Return the CSV file that a file is or a folder holds; None for pictures."""
    if path.is_dir():
        return next((path / name for name in fer2013.NAMES if (path / name).is_file()), None)
    return None if path.suffix in (".tar", ".toml") or find_list(path) else path


def _csv_kind(source: Path) -> DataKind:
    """Tell FER2013 from other faces in its format, by the names that Kaggle's files have."""
    if source.name.startswith("icml"):
        return "icml"
    return "fer2013" if source.name.startswith("fer") else "csv"


def _kept(cache: Path | None, kind: str, key: str, read: Callable[[], tuple[FaceTable, str]]) -> tuple[FaceTable, str]:
    """Return table and sha256 from the cache, or read and keep them."""
    if cache is None:
        return read()
    kept = cache / f"{kind}-{key[:16]}.npz"
    try:
        with kept.open("rb") as file, np.load(file) as arrays:
            groups = tuple(str(group) for group in arrays["groups"]) if "groups" in arrays else None
            sha256 = str(arrays["sha256"]) if "sha256" in arrays else key
            names = tuple(str(name) for name in arrays["names"]) if "names" in arrays else None
            return FaceTable(arrays["images"], arrays["labels"], arrays["usage"], groups, names), sha256
    except FileNotFoundError:
        pass
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as exc:
        log.warning("%s: unreadable, written anew: %s", kept, exc)
    log.info("parsing the data, once; kept in %s", kept)
    table, sha256 = read()
    _keep(kept, table, sha256)
    return table, sha256


def _keep(kept: Path, table: FaceTable, sha256: str) -> None:
    """Write a cache file whole or not at all; a disk that is full costs only the next reading."""
    arrays: dict[str, Any] = {"images": table.images, "labels": table.labels, "usage": table.usage, "sha256": sha256}
    if table.groups is not None:
        arrays["groups"] = np.array(table.groups)
    if table.names is not None:
        arrays["names"] = np.array(table.names)
    partial = kept.with_suffix(f".{os.getpid()}.npz")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(partial, **arrays)
        partial.replace(kept)
    except OSError as exc:
        log.warning("%s: not kept, the data will be parsed again: %s", kept, exc)
    finally:
        partial.unlink(missing_ok=True)
