import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from affect.types import ByteArray, CropGeometry, FloatArray
from affect.vision.crop import align, crop_faces, from_box
from affect.vision.geometry import FER2013_CROP

CPU = torch.device("cpu")
GREY_LEVEL = 1 / 255


def noise(height: int, width: int, seed: int = 0) -> ByteArray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def grey(image: NDArray[np.integer]) -> ByteArray:
    return np.repeat(np.asarray(image, np.uint8)[:, :, None], 3, axis=2)


def affine(side: float, x: float = 0, y: float = 0) -> FloatArray:
    return np.array([[side, 0, x], [0, side, y]], np.float32)


def crop(image: ByteArray, matrix: FloatArray, size: int = 48, channels: int = 3) -> NDArray[np.float32]:
    """One crop as [size, size, channels], 0-1."""
    made = crop_faces([image], [matrix], size=size, channels=channels, device=CPU)
    assert made.shape == (1, channels, size, size)
    assert made.dtype == torch.float32
    return np.asarray(made[0].permute(1, 2, 0).numpy())


def same(
    found: NDArray[np.float32], expected: NDArray[np.integer] | NDArray[np.floating], levels: float = 0.02
) -> None:
    """Compare 0-1 with 0-255 to a fraction of a grey level."""
    np.testing.assert_allclose(found, np.asarray(expected, np.float64) / 255, atol=levels * GREY_LEVEL)


# One pixel to one


@pytest.mark.parametrize("size", [24, 48, 64])
def test_a_picture_at_the_crops_own_scale_passes_unchanged(size: int) -> None:
    image = noise(size, size)
    same(crop(image, affine(size), size), image)


def test_a_grey_picture_passes_unchanged_to_the_last_grey_level() -> None:
    image = noise(48, 48)[:, :, :1].repeat(3, axis=2)
    found = crop(image, affine(48), channels=1)
    assert np.array_equal(np.rint(found * 255), image[:, :, :1])


def test_a_shift_by_whole_pixels_is_a_slice() -> None:
    image = noise(100, 120)
    same(crop(image, affine(48, 30, 7)), image[7:55, 30:78])


def test_a_shift_by_half_a_pixel_is_the_mean_of_neighbours() -> None:
    image = noise(60, 60)
    expected = (image[5:53, 5:53].astype(float) + image[5:53, 6:54]) / 2
    same(crop(image, affine(48, 5.5, 5)), expected)


# Turns


def test_a_quarter_turn() -> None:
    image = noise(48, 48)
    # The crop's right is the picture's down, its down the picture's left: (u, v) -> (48 - 48 v, 48 u).
    matrix = np.array([[0, -48, 48], [48, 0, 0]], np.float32)
    found = crop(image, matrix)
    for row, column in ((0, 0), (0, 47), (47, 0), (13, 31)):
        same(found[row, column], image[column, 47 - row])
    same(found, np.rot90(image))


def test_half_a_turn() -> None:
    image = noise(48, 48)
    same(crop(image, np.array([[-48, 0, 48], [0, -48, 48]], np.float32)), image[::-1, ::-1])


def test_a_turn_of_a_ramp_is_a_turned_ramp() -> None:
    # Brightness x + y of pixel centres is linear, so every bilinear sample of it is exact.
    y, x = np.mgrid[0:100, 0:100]
    angle, side = np.radians(30), 48.0
    c, s = side * np.cos(angle), side * np.sin(angle)
    matrix = np.array([[c, -s, 40], [s, c, 20]], np.float32)
    found = crop(grey(x + y), matrix)[:, :, 0]
    k = (np.arange(48) + 0.5) / 48
    u, v = np.meshgrid(k, k)
    expected = (c * u - s * v + 40 - 0.5) + (s * u + c * v + 20 - 0.5)
    same(found, expected, levels=0.1)


# Scales


def test_twice_the_side_is_the_mean_of_blocks_of_four() -> None:
    image = noise(96, 96)
    blocks = image.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    same(crop(image, affine(96)), blocks)


def test_half_the_side_interpolates() -> None:
    ramp = grey(np.tile(np.arange(24) * 10, (24, 1)))
    found = crop(ramp, affine(24))[:, :, 0]
    position = np.clip((np.arange(48) + 0.5) / 2 - 0.5, 0, 23)
    same(found, np.tile(position * 10, (48, 1)))


@pytest.mark.parametrize(("side", "x"), [(480, 0), (480, 0.3), (333, 12.6), (200, 7.1)])
def test_a_fine_pattern_of_a_large_face_becomes_grey(side: float, x: float) -> None:
    rows, columns = np.mgrid[0:520, 0:520]
    board = grey((rows + columns) % 2 * 255)
    found = crop(board, affine(side, 10 + x, 10 + x))
    np.testing.assert_allclose(found, 127.5 / 255, atol=6 / 255)


@pytest.mark.parametrize("side", [60, 150, 301, 480])
def test_a_large_face_keeps_its_place(side: int) -> None:
    # A linear ramp: an area mean is the value at its middle, so any shift would show as an offset.
    columns = np.mgrid[0:500, 0:500][1]
    found = crop(grey(columns // 2), affine(side, 8, 8))[:, :, 0]
    centres = 8 + (np.arange(48) + 0.5) * side / 48
    same(found[10:38], np.tile((centres - 0.5) / 2 - 0.25, (28, 1)), levels=1.2)


# One tap a pixel, for detectors


def one_tap(image: ByteArray, matrix: FloatArray, size: int) -> NDArray[np.float32]:
    made = crop_faces([image], [matrix], size=size, channels=3, device=CPU, taps=1)
    assert made.shape == (1, 3, size, size)
    return np.asarray(made[0].permute(1, 2, 0).numpy())


def test_one_tap_passes_a_picture_at_the_crops_own_scale_unchanged() -> None:
    image = noise(60, 60)
    same(one_tap(image, affine(24, 7, 9), 24), image[9:33, 7:31])


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_one_tap_averages_blocks_of_whole_factors(factor: int) -> None:
    side = 24 * factor
    image = noise(side, side)
    blocks = image.reshape(24, factor, 24, factor, 3).mean(axis=(1, 3))
    same(one_tap(image, affine(side), 24), blocks, levels=0.51)  # the average is rounded to a grey level


@pytest.mark.parametrize("side", [30, 47, 100, 333])
def test_one_tap_keeps_the_place(side: int) -> None:
    columns = np.mgrid[0:400, 0:500][1]
    found = one_tap(grey(columns // 2), affine(side, 20, 20), 24)[:, :, 0]
    centres = 20 + (np.arange(24) + 0.5) * side / 24
    same(found[4:20], np.tile((centres - 0.5) / 2 - 0.25, (16, 1)), levels=1.2)


# Borders


def test_beyond_the_edge_the_border_repeats() -> None:
    image = noise(60, 60)
    found = crop(image, affine(48, -10, -5))
    expected = np.pad(image, ((5, 0), (10, 0), (0, 0)), mode="edge")[:48, :48]
    same(found, expected)


def test_beyond_the_far_edges_too() -> None:
    image = noise(60, 50)
    found = crop(image, affine(48, 20, 30))
    same(found, np.pad(image, ((0, 20), (0, 20), (0, 0)), mode="edge")[30:78, 20:68])


@pytest.mark.parametrize(("x", "y", "corner"), [(-300, -300, (0, 0)), (300, 300, (59, 49)), (300, -300, (0, 49))])
def test_a_crop_wholly_outside_is_the_nearest_corner(x: float, y: float, corner: tuple[int, int]) -> None:
    image = noise(60, 50)
    same(crop(image, affine(48, x, y)), np.broadcast_to(image[corner], (48, 48, 3)))


# Channels


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_grey_is_rec_601_luma(colour: tuple[int, int, int], luma: int) -> None:
    image = np.full((48, 48, 3), colour, np.uint8)
    same(crop(image, affine(48), channels=1), np.full((48, 48, 1), luma))
    same(crop(image, affine(48)), image)


# Batches


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_of_different_pictures_equals_single_ones(channels: int) -> None:
    images = [noise(48, 48, 1), noise(240, 320, 2), noise(60, 300, 3), noise(500, 400, 4), noise(30, 30, 5)]
    turned = np.array([[60, -20, 80], [20, 60, 50]], np.float32)
    matrices = [affine(48), turned, affine(50, -20, -20), affine(390, 5, 60), affine(100, -30, -40)]
    batch = crop_faces(images, matrices, size=48, channels=channels, device=CPU)
    for k, (image, matrix) in enumerate(zip(images, matrices, strict=True)):
        alone = crop_faces([image], [matrix], size=48, channels=channels, device=CPU)
        torch.testing.assert_close(batch[k], alone[0], atol=0.1 * GREY_LEVEL, rtol=0)


def test_one_picture_may_hold_several_faces() -> None:
    image = noise(100, 200)
    batch = crop_faces([image, image], [affine(48), affine(48, 100, 50)], size=48, channels=3, device=CPU)
    same(batch[1].permute(1, 2, 0).numpy(), image[50:98, 100:148])


def test_a_picture_without_its_affine_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        crop_faces([noise(48, 48)] * 2, [affine(48)], size=48, channels=3, device=CPU)


def test_the_picture_is_left_as_it_was() -> None:
    image = noise(100, 100)
    before = image.copy()
    image.setflags(write=False)
    crop(image, affine(90, 3, 3))
    assert np.array_equal(image, before)


# Affines


@pytest.mark.parametrize(("scale", "degrees", "x", "y"), [(48, 0, 0, 0), (100, 25, 40, -7), (31.5, -140, 3, 200)])
def test_align_recovers_a_known_similarity(scale: float, degrees: float, x: float, y: float) -> None:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    matrix = np.array([[c, -s, x], [s, c, y]])
    points = FER2013_CROP.points() @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(align(points.astype(np.float32), FER2013_CROP), matrix, atol=2e-3)


def test_align_is_the_best_similarity_when_none_fits() -> None:
    rng = np.random.default_rng(1)
    points = (FER2013_CROP.points() * 80 + rng.normal(0, 4, (5, 2))).astype(np.float32)

    def cost(matrix: NDArray[np.floating]) -> float:
        return float(np.sum((FER2013_CROP.points() @ matrix[:, :2].T + matrix[:, 2] - points) ** 2))

    best = align(points, FER2013_CROP).astype(np.float64)
    for step in np.eye(4) * 0.5:
        a, b, x, y = step
        for sign in (-1, 1):
            assert cost(best + sign * np.array([[a, -b, x], [b, a, y]])) > cost(best)


def test_align_never_mirrors() -> None:
    points = FER2013_CROP.points() * np.array([-80, 80], np.float32) + np.array([80, 0], np.float32)
    matrix = align(points, FER2013_CROP)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_align_puts_the_landmarks_where_the_geometry_wants_them() -> None:
    wanted = CropGeometry(((0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75)), "by hand")
    image = np.zeros((200, 200, 3), np.uint8)
    landmarks = np.array([[60, 80], [100, 80], [80, 100], [60, 120], [100, 120]], np.float32)
    image[76:84, 56:64] = 255  # the left eye
    found = crop(image, align(landmarks, wanted), size=80)
    bright = np.argwhere(found[:, :, 0] > 0.5)
    np.testing.assert_allclose(bright.mean(axis=0) + 0.5, [20, 20], atol=0.1)


def test_from_box_is_the_square_of_the_longer_side() -> None:
    box = np.array([10, 20, 50, 100], np.float32)  # 40 x 80 around (30, 60)
    np.testing.assert_allclose(from_box(box), [[80, 0, -10], [0, 80, 20]])
    np.testing.assert_allclose(from_box(box, scale=1.5), [[120, 0, -30], [0, 120, 0]])
    np.testing.assert_allclose(from_box(box, shift_y=0.25), [[80, 0, -10], [0, 80, 40]])


@pytest.mark.parametrize(("height", "width"), [(480, 48), (48, 480), (96, 192), (288, 96)])
def test_a_stretched_crop_is_the_mean_of_what_it_covers(height: int, width: int) -> None:
    image = noise(height, width)
    matrix = np.array([[width, 0, 0], [0, height, 0]], np.float32)
    expected = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA) / 255
    np.testing.assert_allclose(crop(image, matrix), expected, atol=0.02)
