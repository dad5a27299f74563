from typing import cast

import numpy as np
import pytest
import torch
from affect_training.data import Split
from affect_training.evaluation.tta import KINDS, SHIFTS, Tta, augmented, predict_views, served_views, shifted, views

from affect.errors import SettingsError
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.testing import FakeBackend
from affect.types import ByteArray


@pytest.fixture
def pictures() -> ByteArray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)


@pytest.mark.parametrize(
    ("kind", "count"), [("none", 1), ("mirror", 2), ("shift", 5), ("shift-mirror", 10), ("augmented", 9)]
)
def test_each_kind_has_its_views_and_the_first_is_the_face_itself(kind: Tta, count: int, pictures: ByteArray) -> None:
    seen = list(views(pictures, kind))
    assert len(seen) == count
    assert all(view.shape == pictures.shape and view.dtype == np.uint8 for view in seen)
    np.testing.assert_array_equal(seen[0], pictures)
    assert len({view.tobytes() for view in seen}) == count


def test_mirror_turns_left_and_right(pictures: ByteArray) -> None:
    np.testing.assert_array_equal(list(views(pictures, "mirror"))[1], pictures[:, :, ::-1])


def test_shift_mirror_is_shift_and_its_mirror(pictures: ByteArray) -> None:
    seen = list(views(pictures, "shift-mirror"))
    for plain, mirrored, expected in zip(seen[::2], seen[1::2], views(pictures, "shift"), strict=True):
        np.testing.assert_array_equal(plain, expected)
        np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_a_shift_moves_the_face_and_repeats_the_border(pictures: ByteArray) -> None:
    moved = shifted(pictures, 2, -3)
    np.testing.assert_array_equal(moved[:, 2:, :-3], pictures[:, :-2, 3:])
    for row in (0, 1):
        np.testing.assert_array_equal(moved[:, row, :-3], pictures[:, 0, 3:])
    for column in (-3, -2, -1):
        np.testing.assert_array_equal(moved[:, 2:, column], pictures[:, :-2, -1])


def test_shifts_are_two_or_three_pixels() -> None:
    assert SHIFTS[0] == (0, 0)
    assert all(2 <= max(abs(down), abs(right)) <= 3 for down, right in SHIFTS[1:])
    assert np.sum(SHIFTS, axis=0).tolist() == [0, 0]


def test_augmented_copies_are_the_same_every_time_and_another_each_time(pictures: ByteArray) -> None:
    seen = list(views(pictures, "augmented"))
    np.testing.assert_array_equal(seen[1], pictures[:, :, ::-1])
    for copy, view in enumerate(seen[2:]):
        np.testing.assert_array_equal(view, augmented(pictures, copy))


def test_an_augmented_copy_stays_near_the_face() -> None:
    """A bright square in the middle moves by a tenth of the side (and the rotation) at most."""
    face = np.zeros((40, 48, 48), np.uint8)
    face[:, 20:28, 20:28] = 255
    copies = augmented(face, 0).astype(np.float64)
    mass = copies.sum(axis=(1, 2))
    down = (copies.sum(axis=2) @ np.arange(48)) / mass - 23.5
    right = (copies.sum(axis=1) @ np.arange(48)) / mass - 23.5
    assert max(np.abs(down).max(), np.abs(right).max()) < 0.1 * 48 * 1.2
    assert min(np.abs(down).max(), np.abs(right).max()) > 2
    assert 0.75 < mass.min() / (64 * 255) < mass.max() / (64 * 255) < 1.3


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_served_of_a_kind_are_its_first_views(kind: Tta, pictures: ByteArray) -> None:
    count = served_views(kind)
    assert count == (1 if kind in ("none", "shift") else 2)
    for view, expected in zip(
        list(views(pictures, kind))[:count], (pictures, pictures[:, :, ::-1])[:count], strict=True
    ):
        np.testing.assert_array_equal(view, expected)


def test_an_unknown_kind_is_refused_by_name(pictures: ByteArray) -> None:
    with pytest.raises(SettingsError, match="shift-mirror, augmented, not 'flip'"):
        next(views(pictures, cast(Tta, "flip")))


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_each_view(kind: Tta, classifier: FaceClassifier, faces: Split) -> None:
    found = predict_views(classifier, faces.images, kind)
    for row, view in zip(found, views(faces.images, kind), strict=True):
        np.testing.assert_allclose(row, classifier.probabilities(list(view)))
    assert found.dtype == np.float64


class Mirroring(FakeBackend):
    """A backend with an own view of left and right that looks at both when it is told to, as an ensemble is."""

    mirror = True

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits from the light on the left."""
        left, right = (half.mean((1, 2, 3)) for half in (faces[..., :24], faces[..., 24:]))
        light = (left + right) / 2 if self.mirror else left
        return torch.stack([light * k for k in range(7)], 1) * 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_that_mirrors_by_itself_is_given_each_view_once(kind: Tta, cpu: Device, pictures: ByteArray) -> None:
    backend = Mirroring()
    classifier = FaceClassifier(backend, cpu)
    served = classifier.probabilities(list(pictures))
    found = predict_views(classifier, pictures, kind)
    assert backend.mirror  # as it was
    if kind == "mirror":
        np.testing.assert_allclose(found, served[None])
        return
    assert len(found) == len(list(views(pictures, kind)))
    backend.mirror = False
    np.testing.assert_allclose(found[0], classifier.probabilities(list(pictures)))
    assert not np.allclose(found[0], served)
