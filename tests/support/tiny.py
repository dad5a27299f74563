"""A data set of synthetic faces, a network so small that an epoch takes a blink, and its recipe as a plugin."""

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from affect_training.data import FaceData, Split
from torch import nn

from affect.hookspecs import hookimpl
from affect.inference.checkpoint import Sidecar
from affect.registry import RecipeSpec

if TYPE_CHECKING:
    from affect_training.export.onnx import OnnxReport
    from affect_training.run import Run


@dataclass(frozen=True)
class Exported:
    """A run of the tiny recipe and what was written of it."""

    run: "Run"
    weights: Path
    sidecar: Sidecar
    report: "OnnxReport"


class Tiny(nn.Module):
    """Everything that remembers or rolls dice: batch norm, dropout, a kernel, a bias."""

    def __init__(self, width: int = 4, dropout: float = 0.3) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability, got {dropout}")
        self.conv = nn.Conv2d(1, width, 5, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width * 121, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        x = torch.relu(self.norm(self.conv(faces))).flatten(1)
        logits: torch.Tensor = self.out(self.dropout(x))
        return logits


class TinyHeads(nn.Module):
    """A body and a head of one or two parts; without dropout, and with a batch norm only when asked for.

    Args:
        heads: 2 returns [N, 2, 7] in training mode.
        norm: Whether the body has a batch norm.
    """

    def __init__(self, heads: int = 1, norm: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 5, stride=4, bias=not norm),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * 121, 7 * heads)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7], or [N, 2, 7]."""
        logits: torch.Tensor = self.head(self.body(faces))
        if self.heads == 1:
            return logits
        return logits.view(-1, 2, 7) if self.training else logits[:, :7]


TINY = RecipeSpec(
    name="tiny",
    architecture="affect_tiny:Tiny",
    summary="a network for tests",
    source="our own",
    model={"width": 4, "dropout": 0.3},
    train={"epochs": 3, "batch_size": 16, "lr": 0.01, "seed": 5},
)


TINY_HEADS = RecipeSpec(
    name="tiny-heads",
    architecture="support.tiny:TinyHeads",
    summary="a network with a body and heads",
    source="our own",
    train=TINY.train,
)

TINY_PAIR = RecipeSpec(
    name="tiny-pair",
    architecture="",
    summary="two of the above, voting",
    source="our own",
    parts={
        "first": {"recipe": "tiny", "train": {"seed": 1}},
        "second": {"recipe": "tiny", "init": "first.safetensors", "train": {"seed": 2}},
    },
)


def tiny_split(count: int, seed: int) -> Split:
    """Make faces whose label shows as a bright bar at one of seven heights."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 7
    images = rng.integers(0, 120, (count, 48, 48), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 6 * label : 8 + 6 * label] += 130
    return Split(images, labels, np.arange(count, dtype=np.int64))


def tiny_faces() -> FaceData:
    """Make 64 faces for training and 21 for PublicTest."""
    return FaceData(
        {"Training": tiny_split(64, 0), "PublicTest": tiny_split(21, 1)}, {"Training": 0, "PublicTest": 0}, "0" * 64
    )


def write_fer2013(path: Path, data: FaceData) -> Path:
    """Write a data set as the CSV of the Kaggle contest."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["emotion", "pixels", "Usage"])
        for name, split in data.splits.items():
            for image, label in zip(split.images, split.labels, strict=True):
                table.writerow([label, " ".join(map(str, image.reshape(-1).tolist())), name])
    return path


def install_tiny(monkeypatch: pytest.MonkeyPatch) -> RecipeSpec:
    """Make the network importable as `affect_tiny` and its recipe an installed plugin; asks no version control."""
    from affect_training import run

    module = ModuleType("affect_tiny")

    @hookimpl
    def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
        register(TINY)
        register(TINY_HEADS)
        register(TINY_PAIR)

    module.Tiny = Tiny  # type: ignore[attr-defined]
    module.register_recipes = register_recipes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "affect_tiny", module)
    installed = metadata.entry_points
    point = metadata.EntryPoint("tiny", "affect_tiny", "affect")

    def entry_points(**of: Any) -> Any:
        return [*installed(**of), point] if of == {"group": "affect"} else installed(**of)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.setattr(run, "git_commit", lambda: "abc")
    return TINY
