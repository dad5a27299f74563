"""Face crops: every face of a batch is cut, turned and scaled in one grid sample on the device.

An affine here is [2, 3] and maps the unit square of the crop (x right, y down) to pixels of the picture. On the
host only the few pixels a face needs are gathered, and large ones averaged down by a whole factor to at most two
source pixels an output pixel; on the device one bilinear grid sample makes the crop. Each output pixel is the mean
of four taps, spread by half of what a source pixel is smaller than an output pixel: a picture at the crop's own
scale passes unchanged (FER2013's images must, to the last grey level), and a larger face is not aliased.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, hypot

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from affect.types import ByteArray, CropGeometry, FloatArray


def align(landmarks: FloatArray, geometry: CropGeometry) -> FloatArray:
    """Return the affine [2, 3] that puts five landmarks [5, 2] where the geometry wants them.

    The least-squares similarity (shift, turn, scale; no mirror), written in complex numbers.
    """
    centre, weights = _projection(geometry)
    points = [complex(x, y) for x, y in landmarks.tolist()]
    a = sum(w * z for w, z in zip(weights, points, strict=True))
    b = sum(points) / len(points) - a * centre
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


@lru_cache(maxsize=16)
def _projection(geometry: CropGeometry) -> tuple[complex, tuple[complex, ...]]:
    """Return the mean of a geometry's points and the weights whose product with landmarks is scale and turn."""
    points = [complex(x, y) for x, y in geometry.landmarks]
    centre = sum(points) / len(points)
    spread = [point - centre for point in points]
    power = sum(abs(z) ** 2 for z in spread)
    return centre, tuple(z.conjugate() / power for z in spread)


def from_box(box: FloatArray, scale: float = 1.0, shift_y: float = 0.0) -> FloatArray:
    """Return the affine of the upright square around a box.

    Args:
        box: xyxy pixels.
        scale: Side of the square in longer sides of the box.
        shift_y: How far the square's centre lies below the box's, in longer sides of the box.
    """
    side = max(box[2] - box[0], box[3] - box[1])
    x = (box[0] + box[2]) / 2 - side * scale / 2
    y = (box[1] + box[3]) / 2 - side * scale / 2 + side * shift_y
    return np.array([[side * scale, 0, x], [0, side * scale, y]], np.float32)


def crop_faces(
    images: Sequence[ByteArray],
    affines: Sequence[FloatArray],
    *,
    size: int,
    channels: int,
    device: torch.device,
    taps: int = 2,
) -> torch.Tensor:
    """Cut one crop a pair of image and affine.

    Args:
        images: uint8 RGB [H, W, 3], one a crop; the same image may come several times.
        affines: [2, 3] each, crop unit square to pixels.
        size: Side of the crop.
        channels: 1 (grey, Rec. 601 luma as OpenCV) or 3 (RGB).
        device: Where the crops are made and stay.
        taps: Samples an output pixel and axis: 2 for classifiers; 1 is a little softer and four times cheaper.

    Returns:
        float32 [N, channels, size, size], 0-1. Beyond the picture's edge its border pixels repeat.
    """
    patches: list[NDArray[np.uint8]] = []
    grids = np.empty((len(images), 2, 3), np.float32)
    for k, (image, affine) in enumerate(zip(images, affines, strict=True)):
        patch, local = _gather(image, affine, size, taps)
        if channels == 1:
            patch = np.asarray(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]
        patches.append(patch)
        grids[k] = local
    height, width = max(p.shape[0] for p in patches), max(p.shape[1] for p in patches)
    canvas = np.empty((len(patches), height, width, channels), np.uint8)
    for k, patch in enumerate(patches):
        high, wide = patch.shape[:2]
        canvas[k, :high, :wide] = patch
        canvas[k, :high, wide:] = patch[:, -1:]  # repeat the patch's border to the canvas's
        canvas[k, high:] = canvas[k, high - 1]
    return _sample(canvas, grids, size, device, taps)


def _gather(
    image: ByteArray, affine: FloatArray, size: int, taps: int
) -> tuple[ByteArray, list[tuple[float, float, float]]]:
    """Return the pixels a crop needs (scaled down when there are too many) and the affine within them.

    Plain floats: this runs once a candidate, and numpy's calls on six numbers would cost more than the crop.
    """
    (a, b, c), (d, e, f) = affine.tolist()
    height, width = image.shape[:2]
    x0 = min(max(floor(c + min(a, 0) + min(b, 0)) - 1, 0), width - 1)
    y0 = min(max(floor(f + min(d, 0) + min(e, 0)) - 1, 0), height - 1)
    x1 = max(min(ceil(c + max(a, 0) + max(b, 0)) + 2, width), x0 + 1)
    y1 = max(min(ceil(f + max(d, 0) + max(e, 0)) + 2, height), y0 + 1)
    # Source pixels an output pixel, along each side of the source: they differ where a crop is stretched.
    # Whole factors only, which OpenCV averages ten times faster; what is left is at most two pixels a tap.
    across, down = (
        max(1, ceil(step / 2) if taps == 2 else floor(step)) for step in (hypot(a, b) / size, hypot(d, e) / size)
    )
    x1 = min(x1 + -(x1 - x0) % across, width)  # room for the last whole block
    y1 = min(y1 + -(y1 - y0) % down, height)
    patch = image[y0:y1, x0:x1]
    c, f = c - x0, f - y0
    wide, high = (x1 - x0) // across, (y1 - y0) // down
    if (across > 1 or down > 1) and wide and high:
        whole = patch[: high * down, : wide * across]
        patch = np.asarray(cv2.resize(whole, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
        a, b, c = a / across, b / across, c / across
        d, e, f = d / down, e / down, f / down
    return patch, [(a, b, c), (d, e, f)]


def _sample(
    canvas: NDArray[np.uint8], affines: NDArray[np.float32], size: int, device: torch.device, taps: int
) -> torch.Tensor:
    height, width = canvas.shape[1:3]
    # Along each axis one tap at the output pixel's centre, or two at the centre -/+ `spread` (in output pixels).
    step = np.hypot(affines[:, 0, :2], affines[:, 1, :2]) / size  # of columns, of rows
    spread = np.maximum(0.5 * (1 - 1 / step), 0) if taps == 2 else np.zeros_like(step)
    # A sampled point is linear in (column centre, column sign, row centre, row sign, 1): one matrix a crop.
    matrices = np.empty((len(affines), 5, 2), np.float32)
    matrices[:, 0], matrices[:, 2] = affines[:, :, 0] / size, affines[:, :, 1] / size
    matrices[:, 1], matrices[:, 3] = matrices[:, 0] * spread[:, :1], matrices[:, 2] * spread[:, 1:]
    matrices[:, 4] = affines[:, :, 2]
    # Pixel edges run 0..W and `grid_sample` wants edges at -1 and 1.
    matrices *= 2 / np.array([width, height], np.float32)
    matrices[:, 4] -= 1
    pixels, weights = torch.from_numpy(canvas), torch.from_numpy(matrices)
    if device.type == "cuda":
        pixels, weights = (x.pin_memory().to(device, non_blocking=True) for x in (pixels, weights))
    side = taps * size
    grid = torch.matmul(_taps(size, taps, device), weights).view(len(canvas), side, side, 2)
    source = pixels.permute(0, 3, 1, 2).float() / 255
    sampled = functional.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return functional.avg_pool2d(sampled, taps) if taps > 1 else sampled


@lru_cache(maxsize=16)
def _taps(size: int, taps: int, device: torch.device) -> torch.Tensor:
    """Return (column centre, column sign, row centre, row sign, 1) of every tap, [(taps * size)^2, 5]."""
    index = torch.arange(taps * size, device=device)
    centre = (index // taps).float() + 0.5
    sign = (index % 2 * 2 - 1).float() if taps == 2 else torch.zeros_like(centre)
    rows, columns = torch.meshgrid(index, index, indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    parts = [centre[columns], sign[columns], centre[rows], sign[rows], torch.ones(len(rows), device=device)]
    return torch.stack(parts, dim=1)
