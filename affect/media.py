"""Which files are pictures and videos, and what their outputs are called."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.errors import MediaError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEOS = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".gif", ".mjpeg", ".mjpg", ".mpg", ".mpeg", ".wmv"}
    | {".ts", ".mts", ".m2ts", ".3gp", ".flv", ".ogv"}
)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A picture or video, and the name of its outputs: a relative path without a suffix."""

    path: Path
    name: str


def find_media(inputs: Iterable[Path]) -> list[MediaFile]:
    """Return the media files of files and folders; a folder stands for all pictures and videos in it, sorted.

    A file's outputs have its stem for a name; those of a folder's files lie as the files do in the folder. Names that
    would be the same get their suffix or the folders above, as far as needed. Hidden files of folders are left out.

    Raises:
        MediaError: No such file, an unknown kind, or a folder without any.
    """
    found: dict[Path, tuple[Path, int]] = {}  # whole path -> as given, and how many of its last parts are the name
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if _is_media(p, path))
            if not inside:
                raise MediaError(f"{printable(path)}: no pictures or videos in this folder")
            for file in inside:
                found.setdefault(_whole(file), (file, len(file.relative_to(path).parts)))
        elif not path.exists():
            raise MediaError(f"{printable(path)}: no such file")
        elif path.suffix.lower() not in PICTURES | VIDEOS:
            kinds = " ".join(sorted(PICTURES | VIDEOS))
            raise MediaError(f"{printable(path)}: expected a picture or video ({kinds})")
        else:
            found.setdefault(_whole(path), (path, 1))
    names = _names(list(found), [depth for _, depth in found.values()])
    return [MediaFile(path, name) for (path, _), name in zip(found.values(), names, strict=True)]


def _whole(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _names(files: Sequence[Path], depths: list[int]) -> list[str]:
    """Return a name for each file: its path's last parts without the suffix, more of them where names collide."""
    stems = Counter(path.with_suffix("") for path in files)
    named = [path.with_suffix("") if stems[path.with_suffix("")] == 1 else path for path in files]
    while True:
        names = ["/".join(path.parts[-depth:]) for path, depth in zip(named, depths, strict=True)]
        counts = Counter(names)
        deeper = [
            depth + (counts[name] > 1 and depth + 1 < len(path.parts))  # the first part is the root
            for name, depth, path in zip(names, depths, named, strict=True)
        ]
        if deeper == depths:
            return names
        depths = deeper


def printable(path: str | Path) -> str:
    r"""Return a path as text that can be written anywhere; what is not UTF-8 in it as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_media(path: Path, folder: Path) -> bool:
    """Whether a file of a folder is meant: a picture or video, but no hidden file and no plot of ours."""
    known = path.suffix.lower() in PICTURES | VIDEOS
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return known and not hidden and not path.name.endswith(".timeline.png") and path.is_file()


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.suffix.lower() in PICTURES
