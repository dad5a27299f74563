"""Faces whose mean grey tells the label, which is what the fake backend answers."""

import numpy as np
import pytest
from affect_training.data import Split

from affect.inference.device import Device
from affect.labels import EMOTIONS
from affect.pictures import FaceClassifier
from affect.testing import FakeBackend


def grey_faces(greys: list[int]) -> Split:
    """Make faces for labels 0-6 in turn; the grey level in the middle of a label's range is answered with it."""
    labels = np.array(greys, np.int64)
    images = np.empty((len(greys), 48, 48), np.uint8)
    images[:] = ((labels + 0.5) / len(EMOTIONS) * 255).astype(np.uint8)[:, None, None]
    images[:, ::2] += 8
    images[:, 1::2] -= 8
    return Split(images, labels, np.arange(len(greys), dtype=np.int64))


@pytest.fixture
def faces() -> Split:
    """Each emotion six times."""
    return grey_faces([k % 7 for k in range(42)])


@pytest.fixture
def classifier() -> FaceClassifier:
    """Right about every face of `faces`."""
    return FaceClassifier(FakeBackend(), Device("cpu", "float32"))
