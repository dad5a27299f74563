"""Pairs of pictures that are the same photograph: a perceptual hash proposes, aligned pixels decide.

The hash is the 64-bit DCT hash (Zauner 2010): the 8x8 lowest frequencies of the picture at 32x32, each bit saying
whether one is above their median. Re-crops move the hash, so one side of the comparison is also hashed shifted and
scaled, and mirrored. What differs in at most 8 bits is compared by its pixels: the correlation coefficient of the two,
highest over shifts of a few pixels and a tenth in scale, so that brightness and contrast do not count.

All pairs are compared (as matrix products of hashes), none is missed for landing in another bucket. 0.92 was chosen by
eye on FER2013: above it nearly every pair is one photograph (the doubtful are dark, smooth faces), below 0.90
different faces begin. Copies cropped much differently are missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from affect.types import ByteArray, FloatArray
from affect_training.data.faces import SIDE, IndexArray

ALIKE = 0.92
"""Correlation from which two pictures count as one."""
_BITS_APART = 8
_PLAUSIBLE = 0.75
"""Correlation without search from which the search over shifts is worth its time."""
_RIM = 4
_VIEWS = ((1.0, 0, 0), (1 / 1.12, 0, 0), (1.12, 0, 0), (1.0, 4, 0), (1.0, -4, 0), (1.0, 0, 4), (1.0, 0, -4))
"""Scale and shift in pixels; on FER2013 nine combinations more would find 6 % more pairs at twice the time."""
_ROWS, _COLUMNS = 512, 4096
"""Block of a product of hashes: 8 MB, about what a cache holds."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that show the same.

    Attributes:
        first, second: Their indices.
        correlation: Of their aligned pixels, up to 1.
        mirrored: Whether the one is the other's mirror image.
        identical: Whether every pixel is equal.
    """

    first: int
    second: int
    correlation: float
    mirrored: bool
    identical: bool


def find_pairs(first: ByteArray, second: ByteArray | None = None, *, alike: float = ALIKE) -> list[Pair]:
    """Find the pairs of one set of pictures, or those between two.

    Args:
        first: uint8 [N, 48, 48].
        second: uint8 [M, 48, 48]; None for pairs within `first`, each once, with `first < second`.
        alike: Correlation from which two pictures count as one.

    Returns:
        Pairs, ordered by their indices.
    """
    within = second is None
    others = first if second is None else second
    frequencies = _frequencies(others)
    hashes = _hash(frequencies)
    best: dict[tuple[int, int], Pair] = {}
    for view in _VIEWS:
        seen = _view(first, *view)
        seen_frequencies = _frequencies(seen)
        for mirrored in (False, True) if view == _VIEWS[0] else (False,):
            queries = _hash(_mirror(seen_frequencies) if mirrored else seen_frequencies)
            near = np.concatenate([np.empty((0, 2), np.int64), *_near(queries, hashes, within)])
            near = near[_correlation(seen, others, near, mirrored) >= _PLAUSIBLE]
            for i, j in near.tolist():
                if (i, j) in best:
                    continue
                other = np.ascontiguousarray(others[j][:, ::-1]) if mirrored else others[j]
                identical = bool((first[i] == other).all())
                correlation = 1.0 if identical else _aligned(first[i], other)
                if correlation >= alike:
                    best[i, j] = Pair(i, j, correlation, mirrored, identical)
    return [best[key] for key in sorted(best)]


def perceptual_hash(images: ByteArray) -> FloatArray:
    """Return the hashes of uint8 [N, H, W] as float32 [N, 64] of -1 and 1: a product of two counts their bits apart."""
    return _hash(_frequencies(images))


def _frequencies(images: ByteArray) -> FloatArray:
    """Return the 8x8 lowest DCT-II frequencies as float32 [N, 8 (vertical), 8 (horizontal)]."""
    k = np.arange(32)
    basis = np.cos(np.pi * (2 * k[None] + 1) * k[:8, None] / 64).astype(np.float32)
    out = np.empty((len(images), 8, 8), np.float32)
    for n, image in enumerate(images):
        small = np.asarray(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
        out[n] = basis @ small @ basis.T
    return out


def _mirror(frequencies: FloatArray) -> FloatArray:
    """Return the frequencies of the mirror images: odd horizontal ones change their sign."""
    return np.asarray(frequencies * np.where(np.arange(8) % 2, -1, 1).astype(np.float32), np.float32)


def _hash(frequencies: FloatArray) -> FloatArray:
    flat = frequencies.reshape(-1, 64)
    middle = np.median(flat[:, 1:], axis=1, keepdims=True)  # without the mean grey level, which is always large
    return np.where(flat > middle, 1, -1).astype(np.float32)


def _near(queries: FloatArray, hashes: FloatArray, within: bool) -> Iterator[IndexArray]:
    """Yield index pairs [n, 2] that differ in few bits; within one set only those with a growing index."""
    for top in range(0, len(queries), _ROWS):
        for left in range(top if within else 0, len(hashes), _COLUMNS):
            product = queries[top : top + _ROWS] @ hashes[left : left + _COLUMNS].T
            hits = np.flatnonzero(product.ravel() >= 64 - 2 * _BITS_APART)
            i, j = np.divmod(hits, product.shape[1])
            found = np.stack([i + top, j + left], axis=1).astype(np.int64)
            yield found[found[:, 0] < found[:, 1]] if within else found


def _view(images: ByteArray, scale: float, dx: int, dy: int) -> ByteArray:
    """Return the pictures scaled about their centre and shifted; border pixels repeat."""
    if (scale, dx, dy) == (1.0, 0, 0):
        return images
    centre = (SIDE - 1) / 2 * (1 - scale)
    affine = np.array([[scale, 0, centre + dx], [0, scale, centre + dy]], np.float32)
    out = np.empty_like(images)
    for n, image in enumerate(images):
        out[n] = cv2.warpAffine(image, affine, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return out


def _correlation(first: ByteArray, second: ByteArray, pairs: IndexArray, mirrored: bool) -> FloatArray:
    """Return the correlation of the inner pixels of each pair, float32 [n]."""
    out = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 2048):
        part = pairs[start : start + 2048]
        others = second[part[:, 1]]
        a = _centred(first[part[:, 0]])
        b = _centred(others[:, :, ::-1] if mirrored else others)
        power = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        out[start : start + 2048] = (a * b).sum(axis=1) / np.maximum(power, 1)
    return out


def _centred(images: NDArray[np.uint8]) -> FloatArray:
    inner = images[:, _RIM:-_RIM, _RIM:-_RIM].reshape(len(images), -1).astype(np.float32)
    return np.asarray(inner - inner.mean(axis=1, keepdims=True), np.float32)


def _aligned(first: ByteArray, second: ByteArray) -> float:
    """Return the highest correlation of the middle of one picture with any part of the other."""
    best = 0.0
    side = SIDE - 2 * _RIM
    for cut in (side - _RIM, side, side + _RIM):
        start = (SIDE - cut) // 2
        middle = np.asarray(first[start : start + cut, start : start + cut])
        if cut != side:
            middle = np.asarray(cv2.resize(middle, (side, side)), np.uint8)
        if middle.std() >= 1:  # a flat template correlates with everything
            best = max(best, float(cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED).max()))
    return min(best, 1.0)
