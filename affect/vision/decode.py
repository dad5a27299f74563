"""Encoded bytes or arrays -> RGB pictures at working size. Reads the size from the header before it decodes.

Pillow reads the header (it decodes nothing until asked), OpenCV decodes (it releases the interpreter lock, so
frames decode in parallel). OpenCV fills a truncated JPEG with grey and says nothing, hence the look at the end
of the data.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from affect.errors import ErrorCode, FrameError
from affect.settings.vision import VisionSettings
from affect.types import ByteArray

FORMATS = ("JPEG", "PNG", "WEBP")
"""Pillow's names of the accepted formats."""

_MOST_SCANS = 64  # a progressive JPEG has about ten
_MOST_PARTS = 2048
_LEAST_PART = 4096  # bytes; pixels are usually written in chunks of 8 KiB


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded frame.

    Attributes:
        image: uint8 RGB [h, w, 3], at most `max_side` pixels long.
        width, height: Pixels of the frame as sent.
        scale: Pixels of the frame as sent for one pixel of `image`.
    """

    image: ByteArray
    width: int
    height: int
    scale: float


def read_header(data: bytes) -> tuple[str, int, int]:
    """Return (format, width, height) without decoding pixels.

    Raises:
        FrameError: Not a JPEG, PNG or WebP picture.
    """
    try:
        # The limit is checked by the caller against settings, so Pillow's own may not fire first.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as header:
                kind = str(header.format)
                # Telephones append a second picture to a JPEG; Pillow calls that MPO.
                return "JPEG" if kind == "MPO" else kind, header.width, header.height
    except Image.DecompressionBombError as exc:
        raise FrameError(f"picture too large: {exc}", code=ErrorCode.IMAGE_TOO_LARGE) from exc
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error, Warning) as exc:
        raise FrameError(
            f"expected a JPEG, PNG or WebP picture, got {len(data)} bytes starting {data[:8]!r}",
            code=ErrorCode.UNSUPPORTED_MEDIA,
        ) from exc


def _first_scan(data: bytes) -> int:
    """Step over a JPEG's segments, whose bodies may hold a thumbnail; return where the first scan begins."""
    at = 2
    for _ in range(_MOST_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] == 0xDA:
            return at
        # Bytes that fill are allowed (T.81, B.1.1.2), and count here as a segment each.
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise FrameError(f"a JPEG picture with more than {_MOST_PARTS} segments")


def _check_parts(data: bytes) -> None:
    """Refuse pictures of so many parts that reading them takes longer than their size tells.

    Raises:
        FrameError: Too many segments or scans of a JPEG, or chunks of a PNG.
    """
    if data[:2] == b"\xff\xd8":
        first = _first_scan(data)
        end = data.find(b"\xff\xd9", first)  # what telephones append behind it is not read
        if data.count(b"\xff\xda", first, end if end >= 0 else len(data)) > _MOST_SCANS:
            raise FrameError(f"a JPEG picture with more than {_MOST_SCANS} scans")
    if data[:4] == b"\x89PNG":
        at, most = 8, max(_MOST_PARTS, len(data) // _LEAST_PART)
        for _ in range(most):
            if at >= len(data):
                return
            at += 12 + int.from_bytes(data[at : at + 4], "big")
        raise FrameError(f"a PNG picture of {len(data)} bytes with more than {most} chunks")


def _complete(data: bytes, kind: str) -> bool:
    """Whether the data reaches the format's own end."""
    if kind == "JPEG":
        return data.find(b"\xff\xd9", _first_scan(data)) >= 0
    if kind == "PNG":
        return b"IEND" in data[-64:]
    return len(data) >= 8 + int(struct.unpack("<I", data[4:8])[0])


def _check_size(width: int, height: int, settings: VisionSettings) -> None:
    if width * height > settings.max_pixels:
        raise FrameError(
            f"picture of {width}x{height} pixels; at most {settings.max_pixels} are decoded (vision.max_pixels)",
            code=ErrorCode.IMAGE_TOO_LARGE,
        )
    if min(width, height) < settings.min_side:
        raise FrameError(
            f"picture of {width}x{height} pixels; at least {settings.min_side} a side are needed (vision.min_side)",
            code=ErrorCode.IMAGE_TOO_SMALL,
        )


def decode(data: bytes | bytearray | memoryview | ByteArray, settings: VisionSettings) -> Picture:
    """Decode bytes, or check and adopt an array.

    Args:
        data: JPEG, PNG or WebP bytes; or uint8 RGB [H, W, 3], RGBA [H, W, 4] or grey [H, W].
        settings: Limits and working size.

    Raises:
        FrameError: Unsupported, truncated, too large or too small; `code` tells which.
    """
    if isinstance(data, np.ndarray):
        return _adopt(data, settings)
    data = bytes(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) > 24 and not _complete(data, "WEBP"):
        raise FrameError(f"truncated WEBP picture of {len(data)} bytes")  # Pillow would not even name its kind
    _check_parts(data)
    kind, width, height = read_header(data)
    _check_size(width, height, settings)
    if not _complete(data, kind):
        raise FrameError(f"truncated {kind} picture of {len(data)} bytes")
    flag = cv2.IMREAD_COLOR
    if kind == "JPEG":  # a JPEG can be decoded at a half, a quarter or an eighth for less work
        for factor, reduced in (
            (8, cv2.IMREAD_REDUCED_COLOR_8),
            (4, cv2.IMREAD_REDUCED_COLOR_4),
            (2, cv2.IMREAD_REDUCED_COLOR_2),
        ):
            if max(width, height) >= factor * settings.max_side:
                flag = reduced
                break
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as exc:
        raise FrameError(f"corrupt {kind} picture: {exc}") from exc
    if bgr is None:
        raise FrameError(f"corrupt {kind} picture of {len(data)} bytes")
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    high, wide = image.shape[:2]
    if high != wide and (high > wide) != (height > width):  # turned as its EXIF tag says
        width, height = height, width
    return _fit(np.asarray(image, np.uint8), width, height, settings.max_side)


def _adopt(array: ByteArray, settings: VisionSettings) -> Picture:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise FrameError(
            "expected a uint8 array [H, W], [H, W, 3] (RGB) or [H, W, 4] (RGBA), "
            f"got {array.dtype} {list(array.shape)}",
            code=ErrorCode.UNSUPPORTED_MEDIA,
        )
    height, width = array.shape[:2]
    _check_size(width, height, settings)
    image = array
    if array.ndim == 2 or array.shape[2] == 1:
        image = np.asarray(cv2.cvtColor(array, cv2.COLOR_GRAY2RGB), np.uint8)
    elif array.shape[2] == 4:
        image = np.asarray(cv2.cvtColor(array, cv2.COLOR_RGBA2RGB), np.uint8)
    return _fit(image, width, height, settings.max_side)


def _fit(image: ByteArray, width: int, height: int, max_side: int) -> Picture:
    longest = max(image.shape[:2])
    if longest > max_side:
        ratio = max_side / longest
        size = max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(np.ascontiguousarray(image), width, height, width / image.shape[1])
