"""A data set of synthetic faces and a network so small that an epoch takes a blink."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from affect_training import train
from affect_training.config import RunConfig, TrainConfig
from affect_training.data import Fer2013, Split
from torch import nn


class Tiny(nn.Module):
    """Everything that remembers or rolls dice: batch norm, dropout, a kernel, a bias."""

    def __init__(self, width: int = 4, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 5, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width * 121, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        x = torch.relu(self.norm(self.conv(faces))).flatten(1)
        logits: torch.Tensor = self.out(self.dropout(x))
        return logits


def split(count: int, seed: int) -> Split:
    """Make faces whose label shows as a bright bar at one of seven heights."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 7
    images = rng.integers(0, 120, (count, 48, 48), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 6 * label : 8 + 6 * label] += 130
    return Split(images, labels, np.arange(count, dtype=np.int64))


@pytest.fixture
def faces() -> Fer2013:
    return Fer2013({"Training": split(64, 0), "PublicTest": split(21, 1)}, {"Training": 0, "PublicTest": 0}, "0" * 64)


@pytest.fixture
def architecture(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the tiny network, as a recipe would name it. Runs made in tests also ask no version control."""
    module = ModuleType("affect_tiny")
    module.Tiny = Tiny  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "affect_tiny", module)
    monkeypatch.setattr(train, "git_commit", lambda: "abc")
    return "affect_tiny:Tiny"


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(recipe="tiny", train=TrainConfig(epochs=3, batch_size=16, lr=0.01, l2_kernels=1e-4, seed=5))
