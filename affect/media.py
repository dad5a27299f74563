"""Which files are pictures and videos, and what their outputs are called."""

from collections.abc import Iterable
from pathlib import Path

from affect.errors import MediaError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEOS = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".gif", ".mjpeg", ".mjpg", ".mpg", ".mpeg", ".wmv"}
)


def expand(inputs: Iterable[Path]) -> list[Path]:
    """Return the media files of files and folders; a folder stands for all pictures and videos in it, sorted.

    Raises:
        MediaError: No such file, an unknown kind, or a folder without any.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if _is_media(p))
            if not found:
                raise MediaError(f"{path}: no pictures or videos in this folder")
            files += found
        elif not path.exists():
            raise MediaError(f"{path}: no such file")
        elif path.suffix.lower() not in PICTURES | VIDEOS:
            kinds = " ".join(sorted(PICTURES | VIDEOS))
            raise MediaError(f"{path}: expected a picture or video ({kinds})")
        else:
            files.append(path)
    return files


def _is_media(path: Path) -> bool:
    """Whether a file of a folder is meant: a picture or video, but no plot of ours."""
    known = path.suffix.lower() in PICTURES | VIDEOS
    return known and not path.name.endswith(".timeline.png") and path.is_file()


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.suffix.lower() in PICTURES
