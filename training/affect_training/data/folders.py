"""Class folders, as folders or in a tar file.

Two layouts, told by their depth:

    angry/00001.jpg             label/picture: everything is Training
    train/angry/00001.jpg       split/label/picture

The splits are named as in `SPLIT_NAMES`, the labels as in `affect_training.data.labels`. Rows are numbered by the
sorted paths. Hidden files and files that are no pictures are passed over; a TOML file beside the folder or tar (same
name, suffix .toml) or `faces.toml` in the folder may hold a table `[labels]`.
"""

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from affect.errors import MediaError
from affect_training.data.faces import SPLITS
from affect_training.data.labels import LabelMap
from affect_training.data.pictures import SUFFIXES, PictureFile

SPLIT_NAMES = {
    **{name.lower(): index for index, name in enumerate(SPLITS)},
    "train": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "test": 2,
}
"""Names of a split in lower case -> index into `SPLITS`."""
_OTHER_PICTURES = (".bmp", ".gif", ".pgm", ".tif", ".tiff")


def list_folder(folder: Path, labels: LabelMap) -> list[PictureFile]:
    """List the pictures of a folder of class folders, links followed.

    Raises:
        MediaError: An unknown label or split, another depth, a picture of another kind, or no picture; names it.
    """
    found = {path.relative_to(folder).as_posix(): path for path in _walk(folder, frozenset()) if path.is_file()}
    files = []
    for name in _pictures(found, str(folder)):
        label, usage = _meaning(PurePosixPath(name), labels, str(folder))
        if label is not None:
            files.append(PictureFile(found[name], str(found[name]), label, usage))
    return files


def list_tar(path: Path, labels: LabelMap) -> list[PictureFile]:
    """List the pictures of an unpacked tar file of class folders; their bytes stay where they are.

    Raises:
        MediaError: As `list_folder`, or the file is no tar file, or one that is compressed.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            # A hard link has no bytes of its own, its first name has them.
            whole = {m.name: m for m in tar if m.isreg() and not m.issparse()}
            linked = {m.name: whole[m.linkname] for m in tar if m.islnk() and m.linkname in whole}
            members = {str(PurePosixPath(name)): m for name, m in {**whole, **linked}.items()}
    except (tarfile.TarError, OSError) as exc:
        raise MediaError(f"{path}: expected an uncompressed tar file: {exc}") from exc
    files = []
    for name in _pictures(members, str(path)):
        label, usage = _meaning(PurePosixPath(name), labels, str(path))
        if label is not None:
            at = members[name]
            files.append(PictureFile(path, f"{path}:{name}", label, usage, offset=at.offset_data, size=at.size))
    return files


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield the files below a folder; a link to a folder that it lies in is not followed."""
    real = folder.resolve()
    if real in above:
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path, above | {real})
        else:
            yield path


def _pictures(names: Iterable[str], where: str) -> list[str]:
    seen = sorted(name for name in names if not any(part.startswith(".") for part in PurePosixPath(name).parts))
    for name in seen:
        if PurePosixPath(name).suffix.lower() in _OTHER_PICTURES:
            raise MediaError(f"{where}: expected pictures {', '.join(SUFFIXES)}, got {name}; convert it")
    found = [name for name in seen if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not found:
        raise MediaError(f"{where}: expected pictures label/name.jpg or split/label/name.jpg in it, got none")
    return found


def _meaning(name: PurePosixPath, labels: LabelMap, where: str) -> tuple[int | None, int]:
    folders = name.parts[:-1]
    if len(folders) not in (1, 2):
        raise MediaError(f"{where}: expected label/name.jpg or split/label/name.jpg, got {name}")
    usage = 0
    if len(folders) == 2:
        if folders[0].lower() not in SPLIT_NAMES:
            raise MediaError(f"{where}, {name}: expected a split {', '.join(SPLIT_NAMES)}, got {folders[0]!r}")
        usage = SPLIT_NAMES[folders[0].lower()]
    try:
        return labels.number(folders[-1]), usage
    except KeyError as exc:
        raise MediaError(f"{where}, {name}: expected a label {labels.known()}, got {folders[-1]!r}") from exc
