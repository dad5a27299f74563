import io
import struct
import zlib
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from PIL import Image

from affect.errors import ErrorCode, FrameError
from affect.settings import VisionSettings
from affect.types import ByteArray
from affect.vision.decode import Picture, decode, read_header

SETTINGS = VisionSettings()
FORMATS = ["JPEG", "PNG", "WEBP"]


def encoded(image: ByteArray | Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(width: int, height: int) -> ByteArray:
    """Left half red, right half blue: tells channels and directions."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 255
    image[:, width // 2 :, 2] = 255
    return image


def noise(width: int = 96, height: int = 64) -> ByteArray:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def png(width: int, height: int, rows: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """Build a PNG by hand: its header may promise more than its data holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def error(data: bytes | ByteArray, settings: VisionSettings = SETTINGS) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode(data, settings)
    return caught.value


@pytest.fixture
def _no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)


# Good pictures


@pytest.mark.parametrize("kind", FORMATS)
def test_the_three_formats_decode_to_rgb(kind: str) -> None:
    picture = decode(encoded(halves(80, 60), kind, quality=95), SETTINGS)
    assert (picture.width, picture.height, picture.scale) == (80, 60, 1.0)
    assert picture.image.shape == (60, 80, 3)
    assert picture.image.dtype == np.uint8
    assert picture.image.flags.c_contiguous
    np.testing.assert_allclose(picture.image[30, 10], [255, 0, 0], atol=6)
    np.testing.assert_allclose(picture.image[30, 70], [0, 0, 255], atol=6)


def test_png_is_decoded_to_the_last_bit() -> None:
    np.testing.assert_array_equal(decode(encoded(noise(), "PNG"), SETTINGS).image, noise())


def test_jpeg_agrees_with_another_decoder() -> None:
    data = encoded(noise(), "JPEG", quality=90)
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)
    assert np.abs(decode(data, SETTINGS).image - theirs).max() <= 3


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer_will_do(kind: Any) -> None:
    assert decode(kind(encoded(noise(), "PNG")), SETTINGS).image.shape == (64, 96, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_is_read_without_decoding(kind: str) -> None:
    assert read_header(encoded(noise(), kind)) == (kind, 96, 64)


def test_grey_and_transparent_files_become_rgb() -> None:
    grey = Image.fromarray(np.full((40, 50), 90, np.uint8))
    np.testing.assert_array_equal(decode(encoded(grey, "PNG"), SETTINGS).image, np.full((40, 50, 3), 90))
    rgba = np.dstack([noise(), np.full((64, 96), 128, np.uint8)])
    np.testing.assert_array_equal(decode(encoded(rgba, "PNG"), SETTINGS).image, noise())


def test_a_jpeg_with_a_second_picture_behind_it_is_a_jpeg() -> None:
    # Telephones append a gain map or a depth map (CIPA DC-007 multi-picture format).
    data = encoded(Image.fromarray(noise()), "MPO", save_all=True, append_images=[Image.fromarray(noise())])
    assert decode(data, SETTINGS).image.shape == (64, 96, 3)


def test_a_picture_with_bytes_behind_its_end_is_complete() -> None:
    # Cameras append notes of their own behind the end of the image.
    picture = decode(encoded(noise(), "JPEG") + bytes(500), SETTINGS)
    assert picture.image.shape == (64, 96, 3)


# EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(halves(100, 60), "JPEG", quality=95, exif=exif)
    picture = decode(data, SETTINGS)
    upright = orientation < 5
    assert (picture.width, picture.height) == ((100, 60) if upright else (60, 100))
    assert picture.image.shape == (picture.height, picture.width, 3)
    # The stored left edge is red. EXIF 2.3, 4.6.4: where the stored first column is in the shown picture.
    red_at = {
        1: (30, 5), 2: (30, 95), 3: (30, 95), 4: (30, 5),
        5: (5, 30), 6: (5, 30), 7: (95, 30), 8: (95, 30),
    }[orientation]  # fmt: skip
    np.testing.assert_allclose(picture.image[red_at], [255, 0, 0], atol=6)


# Working size


def test_longer_pictures_are_worked_on_at_max_side() -> None:
    picture = decode(halves(300, 150), VisionSettings(max_side=100))
    assert picture.image.shape == (50, 100, 3)
    assert (picture.width, picture.height, picture.scale) == (300, 150, 3.0)
    assert picture.image[25, 48].tolist() == [255, 0, 0]
    assert picture.image[25, 51].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("side", "flag"),
    [
        (127, cv2.IMREAD_COLOR),
        (128, cv2.IMREAD_REDUCED_COLOR_2),
        (255, cv2.IMREAD_REDUCED_COLOR_2),
        (256, cv2.IMREAD_REDUCED_COLOR_4),
        (520, cv2.IMREAD_REDUCED_COLOR_8),
    ],
)
def test_large_jpegs_are_decoded_reduced(side: int, flag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    flags: list[int] = []
    imdecode = cv2.imdecode

    def spy(data: Any, how: int) -> Any:
        flags.append(how)
        return imdecode(data, how)

    monkeypatch.setattr(cv2, "imdecode", spy)
    data = encoded(halves(side, side // 2), "JPEG", quality=95)
    picture = decode(data, VisionSettings(max_side=64))
    assert flags == [flag]
    assert picture.image.shape[1] == 64
    assert (picture.width, picture.height) == (side, side // 2)
    assert picture.scale == pytest.approx(side / 64)
    middle = int(side / 2 / picture.scale)  # the edge stays where it was
    np.testing.assert_allclose(picture.image[16, middle - 2], [255, 0, 0], atol=12)
    np.testing.assert_allclose(picture.image[16, middle + 2], [0, 0, 255], atol=12)


def test_a_nearly_square_jpeg_is_not_taken_for_a_turned_one() -> None:
    # Reduced by two, 129x130 pixels become 65x65: neither upright nor lying.
    picture = decode(encoded(noise(129, 130), "JPEG"), VisionSettings(max_side=64))
    assert (picture.width, picture.height) == (129, 130)


# Bad pictures


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_pictures_are_refused(kind: str, share: float) -> None:
    data = encoded(noise(300, 200), kind)
    found = error(data[: int(len(data) * share)])
    assert found.code is ErrorCode.BAD_IMAGE
    assert f"truncated {kind}" in found.message


def test_the_end_of_a_thumbnail_is_not_the_end_of_its_picture() -> None:
    data, small = encoded(noise(300, 200), "JPEG"), encoded(noise(32, 24), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(small)) + small  # an application segment
    whole = data[:2] + segment + data[2:]
    assert decode(whole, SETTINGS).image.shape == (200, 300, 3)
    for length in (len(whole) // 2, len(whole) - 100):
        assert error(whole[:length]).code is ErrorCode.BAD_IMAGE


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_cut_within_the_header_are_refused(kind: str, length: int) -> None:
    assert error(encoded(noise(), kind)[:length]).code is ErrorCode.UNSUPPORTED_MEDIA


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello, this is no picture",
        bytes(range(256)) * 8,
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
        b"%PDF-1.7",
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    found = error(data)
    assert found.code is ErrorCode.UNSUPPORTED_MEDIA
    assert f"got {len(data)} bytes" in found.message


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    assert error(encoded(noise(), kind)).code is ErrorCode.UNSUPPORTED_MEDIA


def test_a_png_whose_pixels_are_no_data_is_refused() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    start = data.index(b"IDAT") + 4
    data[start : start + 40] = bytes(40)
    assert error(bytes(data)).code is ErrorCode.BAD_IMAGE


# Limits


@pytest.mark.usefixtures("_no_decoder")
@pytest.mark.parametrize("side", [6_000, 10_000, 14_000, 20_000, 60_000])
def test_a_bomb_is_refused_before_decoding(side: int) -> None:
    data = png(side, side)
    assert len(data) < 100
    found = error(data)
    assert found.code is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.usefixtures("_no_decoder")
def test_the_limit_of_pixels_is_a_setting_and_exact() -> None:
    settings = VisionSettings(max_pixels=6400)
    found = error(png(100, 65), settings)
    assert found.code is ErrorCode.IMAGE_TOO_LARGE
    assert "100x65" in found.message
    assert "6400" in found.message
    with pytest.raises(AssertionError, match="pixels were decoded"):
        decode(png(100, 64), settings)


@pytest.mark.usefixtures("_no_decoder")
def test_tiny_pictures_are_refused() -> None:
    found = error(encoded(noise(8, 8), "PNG"))
    assert found.code is ErrorCode.IMAGE_TOO_SMALL
    assert "8x8" in found.message
    assert error(png(100, 23)).code is ErrorCode.IMAGE_TOO_SMALL


def test_the_least_side_is_a_setting_and_exact() -> None:
    assert decode(encoded(noise(24, 24), "PNG"), SETTINGS).width == 24
    assert error(encoded(noise(39, 80), "PNG"), VisionSettings(min_side=40)).code is ErrorCode.IMAGE_TOO_SMALL


# Arrays


def test_an_rgb_array_is_taken_as_it_is() -> None:
    picture = decode(noise(), SETTINGS)
    np.testing.assert_array_equal(picture.image, noise())
    assert picture == Picture(picture.image, 96, 64, 1.0)


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1)])
def test_grey_arrays_become_rgb(shape: tuple[int, ...]) -> None:
    image = decode(np.full(shape, 77, np.uint8), SETTINGS).image
    np.testing.assert_array_equal(image, np.full((40, 50, 3), 77))


def test_rgba_arrays_lose_their_alpha() -> None:
    rgba = np.dstack([noise(), np.zeros((64, 96), np.uint8)])
    np.testing.assert_array_equal(decode(rgba, SETTINGS).image, noise())


def test_views_are_made_contiguous() -> None:
    mirrored = decode(noise()[:, ::-1], SETTINGS).image
    assert mirrored.flags.c_contiguous
    np.testing.assert_array_equal(mirrored[:, ::-1], noise())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((40, 40, 3), np.float32),
        np.zeros((40, 40, 3), np.uint16),
        np.zeros((40, 40, 2), np.uint8),
        np.zeros((40, 40, 5), np.uint8),
        np.zeros(1600, np.uint8),
        np.zeros((1, 40, 40, 3), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_other_arrays_are_refused_with_their_shape(array: Any) -> None:
    found = error(array)
    assert found.code is ErrorCode.UNSUPPORTED_MEDIA
    assert f"{array.dtype} {list(array.shape)}" in found.message


@pytest.mark.parametrize("shape", [(8, 8, 3), (0, 0), (23, 100, 3)])
def test_tiny_arrays_are_refused(shape: tuple[int, ...]) -> None:
    assert error(np.zeros(shape, np.uint8)).code is ErrorCode.IMAGE_TOO_SMALL


def test_arrays_obey_the_limit_of_pixels() -> None:
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (6000, 6000, 3))  # takes three bytes
    assert error(huge).code is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("fill", [1, 3])
def test_bytes_that_fill_before_a_marker_are_allowed(fill: int) -> None:
    data = encoded(noise(), "JPEG")
    at = data.index(b"\xff\xdb")
    padded = data[:at] + b"\xff" * fill + data[at:]
    assert (decode(padded, SETTINGS).image == decode(data, SETTINGS).image).all()


def a_jpeg(side: int = 64, *, progressive: bool = False) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG", progressive=progressive)
    return out.getvalue()


def test_a_progressive_jpeg_is_taken() -> None:
    whole = a_jpeg(progressive=True)
    assert whole.count(b"\xff\xda") > 5
    assert decode(whole, VisionSettings()).width == 64


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    """Each scan costs as much as the picture's size, whatever it weighs itself."""
    whole = a_jpeg(progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(FrameError, match="more than 64 scans"):
        decode(whole[:-2] + 70 * scan + whole[-2:], VisionSettings())


def test_what_is_appended_to_a_jpeg_does_not_count() -> None:
    """A telephone's film behind its picture has such bytes now and then."""
    assert decode(a_jpeg() + 200 * b"\x00\xff\xda\x00", VisionSettings()).width == 64


def test_a_large_png_has_many_chunks() -> None:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    Image.fromarray(noise).save(out, "PNG", compress_level=0)
    whole = out.getvalue()
    pieces, at = [whole[:33]], 33
    data = b""
    while at < len(whole):  # in chunks of 4 KiB
        size, kind = int.from_bytes(whole[at : at + 4], "big"), whole[at + 4 : at + 8]
        if kind == b"IDAT":
            data += whole[at + 8 : at + 8 + size]
        at += 12 + size
    for start in range(0, len(data), 5000):
        part = data[start : start + 5000]
        pieces.append(struct.pack(">I", len(part)) + b"IDAT" + part + struct.pack(">I", zlib.crc32(b"IDAT" + part)))
    assert len(pieces) > 2100
    end = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    assert decode(b"".join(pieces) + end, VisionSettings()).width == 2000


@pytest.mark.parametrize("part", [b"\xff\xfe\x00\x02", b"\xff"])
def test_a_jpeg_of_very_many_segments_is_refused(part: bytes) -> None:
    whole = a_jpeg()
    decode(whole[:2] + 1000 * part + whole[2:], VisionSettings())
    with pytest.raises(FrameError, match="more than 2048 segments"):
        decode(whole[:2] + 100_000 * part + whole[2:], VisionSettings())


def test_a_png_of_very_many_chunks_is_refused() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(out, "PNG")
    whole, empty = out.getvalue(), struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt"))
    decode(whole[:33] + 1000 * empty + whole[33:], VisionSettings())
    with pytest.raises(FrameError, match="more than 2048 chunks"):
        decode(whole[:33] + 100_000 * empty + whole[33:], VisionSettings())
