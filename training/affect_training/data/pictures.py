"""Labelled picture files -> a table of grey faces of 48x48, with a stamp that tells whether they have changed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from affect.errors import FrameError, MediaError
from affect.settings.vision import VisionSettings
from affect.types import ByteArray
from affect.vision.decode import decode
from affect_training.data.faces import SIDE, FaceTable

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
Box = tuple[float, float, float, float]

LARGEST_BOX = 4
"""Side of a box in longer sides of its picture; one beyond that is a slip of the pen."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One labelled picture, not yet read.

    Attributes:
        path: The file, or the tar file it lies in.
        name: What messages and the hash call it.
        label: Number in the order of `EMOTIONS`.
        usage: Index into `SPLITS`.
        box: x, y, width, height in pixels of the face; the whole picture when None.
        group: As in `Split`; "" when the set has none.
        offset, size: Where in `path` its bytes lie; to the end when None.
    """

    path: Path
    name: str
    label: int
    usage: int = 0
    box: Box | None = None
    group: str = ""
    offset: int = 0
    size: int | None = None


def stamp(files: Sequence[PictureFile]) -> str:
    """Return a hash of names, labels, sizes and times: equal as long as nobody changes a file. Reads no picture."""
    total = hashlib.sha256()
    for file in files:
        try:
            facts = file.path.stat()
        except OSError as exc:
            raise MediaError(f"{file.name}: cannot be read: {exc}") from exc
        total.update(repr((file, facts.st_size, facts.st_mtime_ns)).encode())
    return total.hexdigest()


def read_pictures(files: Sequence[PictureFile]) -> tuple[FaceTable, str]:
    """Decode all pictures.

    Returns:
        The table, row i being file i, and the sha256 of all names, labels and contents.

    Raises:
        MediaError: A file is missing, is no JPEG, PNG or WebP picture, or its box lies outside; names it.
    """
    images = np.empty((len(files), SIDE, SIDE), np.uint8)
    total = hashlib.sha256()
    for k, file in enumerate(files):
        try:
            with file.path.open("rb") as opened:
                opened.seek(file.offset)
                data = opened.read() if file.size is None else opened.read(file.size)
        except OSError as exc:
            raise MediaError(f"{file.name}: cannot be read: {exc}") from exc
        facts = (Path(file.name).name, file.label, file.usage, file.box, file.group)
        total.update(repr((*facts, hashlib.sha256(data).hexdigest())).encode())
        images[k] = grey_face(data, file.box, file.name)
    groups = tuple(file.group for file in files)
    table = FaceTable(
        images,
        np.array([file.label for file in files], np.int8),
        np.array([file.usage for file in files], np.int8),
        groups if any(groups) else None,
        tuple(file.name for file in files),
    )
    return table, total.hexdigest()


def grey_face(data: bytes, box: Box | None, where: str) -> ByteArray:
    """Return the square around a box of a picture as grey 48x48.

    The square's side is the box's longer one; beyond the picture its border pixels repeat. Larger squares are
    averaged down, smaller ones enlarged (bicubic); one of 48 pixels stays as it is, to the last grey level.

    Args:
        data: JPEG, PNG or WebP bytes.
        box: x, y, width, height in pixels; the whole picture when None.
        where: What a message calls the picture.

    Raises:
        MediaError: Not a picture, or the box lies outside it.
    """
    try:
        picture = decode(data, VisionSettings(min_side=12, max_side=4096))
    except FrameError as exc:
        raise MediaError(f"{where}: {exc.message}") from exc
    grey = np.asarray(cv2.cvtColor(picture.image, cv2.COLOR_RGB2GRAY), np.uint8)
    height, width = grey.shape
    x, y, w, h = (v / picture.scale for v in box or (0, 0, picture.width, picture.height))
    if not (w > 0 and h > 0 and x < width and y < height and x + w > 0 and y + h > 0):
        raise MediaError(
            f"{where}: expected a box x, y, width, height inside {picture.width}x{picture.height} pixels, got {box}"
        )
    side = max(1, round(max(w, h)))
    if side > LARGEST_BOX * max(width, height):
        raise MediaError(f"{where}: the box {box} is far larger than the picture of {picture.width}x{picture.height}")
    left, top = round(x + (w - side) / 2), round(y + (h - side) / 2)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    square = grey[rows][:, columns]
    if side == SIDE:
        return square
    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=how), np.uint8)
