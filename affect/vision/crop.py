"""Face crops: every face of a batch is cut, turned and scaled in one grid sample on the device.

An affine here is [2, 3] and maps the unit square of the crop (x right, y down) to pixels of the picture. On the
host only the few pixels a face needs are gathered, and large ones averaged down by a whole factor to at most two
source pixels an output pixel; on the device one bilinear grid sample makes the crop. Each output pixel is the mean
of four taps, spread by half of what a source pixel is smaller than an output pixel: a picture at the crop's own
scale passes unchanged (FER2013's images must, to the last grey level), and a larger face is not aliased.
"""

from collections.abc import Sequence
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
    target = geometry.points()
    c = target[:, 0] + 1j * target[:, 1]
    z = landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1]
    spread = c - c.mean()
    a = np.sum(np.conj(spread) * (z - z.mean())) / np.sum(np.abs(spread) ** 2)
    b = z.mean() - a * c.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


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
    canvas = np.zeros((len(patches), height, width, channels), np.uint8)
    limits = np.empty((len(patches), 1, 1, 2), np.float32)
    for k, patch in enumerate(patches):
        canvas[k, : patch.shape[0], : patch.shape[1]] = patch
        limits[k] = patch.shape[1] - 1, patch.shape[0] - 1
    return _sample(canvas, grids, limits, size, device, taps)


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
    step = hypot(a, d) / size  # source pixels an output pixel
    # Whole factors only, which OpenCV averages ten times faster; what is left is at most two pixels a tap.
    factor = max(1, ceil(step / 2) if taps == 2 else floor(step))
    x1 = min(x1 + -(x1 - x0) % factor, width)  # room for the last whole block
    y1 = min(y1 + -(y1 - y0) % factor, height)
    patch = image[y0:y1, x0:x1]
    c, f = c - x0, f - y0
    wide, high = (x1 - x0) // factor, (y1 - y0) // factor
    if factor > 1 and wide and high:
        whole = patch[: high * factor, : wide * factor]
        patch = np.asarray(cv2.resize(whole, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
        a, b, c, d, e, f = (value / factor for value in (a, b, c, d, e, f))
    return patch, [(a, b, c), (d, e, f)]


def _sample(
    canvas: NDArray[np.uint8],
    affines: NDArray[np.float32],
    limits: NDArray[np.float32],
    size: int,
    device: torch.device,
    taps: int,
) -> torch.Tensor:
    height, width = canvas.shape[1:3]
    pixels = torch.from_numpy(canvas)
    matrices, last = torch.from_numpy(affines), torch.from_numpy(limits)
    if device.type == "cuda":
        pixels, matrices, last = (x.pin_memory().to(device, non_blocking=True) for x in (pixels, matrices, last))
    source = pixels.permute(0, 3, 1, 2).float() / 255
    # Along each axis one tap at the output pixel's centre, or two at the centre -/+ `spread` (in output pixels).
    index = torch.arange(taps * size, device=device)
    at = (index // taps + 0.5).float()[None]
    if taps == 2:
        step = matrices[:, :, 0].norm(dim=1) / size
        spread = (0.5 * (1 - 1 / step)).clamp(min=0)
        at = at + spread[:, None] * (index % 2 * 2 - 1)
    at = at / size  # [N, taps * size], units of the crop
    across, down, origin = (matrices[:, None, None, :, k] for k in range(3))
    # Pixel edges run 0..W, pixel centres lie at +.5; clamping to the patch repeats its border.
    points = at[:, None, :, None] * across + at[:, :, None, None] * down + origin - 0.5
    points = torch.minimum(points.clamp_(min=0), last)
    extent = torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=device, dtype=torch.float32)
    grid = points / extent * 2 - 1
    sampled = functional.grid_sample(source, grid, mode="bilinear", align_corners=True)
    return functional.avg_pool2d(sampled, taps) if taps > 1 else sampled
