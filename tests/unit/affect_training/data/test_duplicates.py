import cv2
import numpy as np
import pytest
from affect_training.data.duplicates import find_pairs, perceptual_hash
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def scenes(count: int, seed: int = 0) -> Images:
    """Smooth pictures of 64x64, as unlike as clouds."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 9, 9), np.uint8)
    return np.stack([np.asarray(cv2.resize(c, (64, 64), interpolation=cv2.INTER_CUBIC), np.uint8) for c in coarse])


def cut(scene: Images, left: int = 8, top: int = 8, side: int = 48) -> Images:
    part = scene[top : top + side, left : left + side]
    return np.asarray(cv2.resize(part, (48, 48), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def pictures() -> Images:
    return np.stack([cut(scene) for scene in scenes(60)])


def test_unlike_pictures_make_no_pairs(pictures: Images) -> None:
    assert find_pairs(pictures) == []


def test_identical_pictures_are_found_once(pictures: Images) -> None:
    (pair,) = find_pairs(np.concatenate([pictures, pictures[7:8]]))
    assert (pair.first, pair.second) == (7, 60)
    assert pair.identical
    assert not pair.mirrored
    assert pair.correlation == 1.0


def test_mirror_images_are_found(pictures: Images) -> None:
    (pair,) = find_pairs(np.concatenate([pictures, pictures[7:8, :, ::-1]]))
    assert (pair.first, pair.second) == (7, 60)
    assert pair.mirrored
    assert pair.identical


@pytest.mark.parametrize(
    ("left", "top", "side"), [(11, 8, 48), (5, 8, 48), (8, 11, 48), (8, 5, 48), (6, 6, 52), (10, 10, 44)]
)
def test_other_crops_of_a_scene_are_found(pictures: Images, left: int, top: int, side: int) -> None:
    again = np.stack([cut(scene, left, top, side) for scene in scenes(60)])
    found = find_pairs(again, pictures)
    assert all(p.first == p.second for p in found)
    assert len(found) >= 45  # the views lie 4 pixels and 12 % apart; some fall between
    assert not any(p.identical or p.mirrored for p in found)
    assert all(p.correlation >= 0.92 for p in found)


def test_brightness_contrast_and_noise_do_not_hide_a_copy(pictures: Images) -> None:
    rng = np.random.default_rng(1)
    dim = np.clip(pictures * 0.6 + 40 + rng.normal(0, 6, pictures.shape), 0, 255).astype(np.uint8)
    assert [(p.first, p.second) for p in find_pairs(dim, pictures)] == [(k, k) for k in range(60)]


def test_flat_pictures_are_like_nothing(pictures: Images) -> None:
    flat = np.full((3, 48, 48), 90, np.uint8)
    flat[1] += np.arange(48, dtype=np.uint8) // 24
    assert find_pairs(flat[:2], pictures) == []


def test_empty_sets_have_no_pairs(pictures: Images) -> None:
    assert find_pairs(pictures[:0]) == []
    assert find_pairs(pictures[:0], pictures) == []
    assert find_pairs(pictures, pictures[:0]) == []


def test_blocks_hide_nothing(pictures: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    both = np.concatenate([pictures, pictures[::-1]])
    whole = find_pairs(both)
    monkeypatch.setattr("affect_training.data.duplicates._ROWS", 7)
    monkeypatch.setattr("affect_training.data.duplicates._COLUMNS", 11)
    assert find_pairs(both) == whole
    assert len(whole) == 60


def test_a_hash_has_64_bits_and_ignores_brightness(pictures: Images) -> None:
    hashes = perceptual_hash(pictures)
    assert hashes.shape == (60, 64)
    assert set(np.unique(hashes)) == {-1, 1}
    brighter = np.clip(pictures.astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    apart = (64 - (perceptual_hash(brighter) * hashes).sum(1)) / 2
    assert apart.max() <= 4
