"""A network of a few hundred weights, files of it, and a host that knows it and the ensemble."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest
import torch
from affect_ensemble import plugin
from torch import nn

from affect import hookimpl
from affect.inference.checkpoint import InputSpec, save_checkpoint
from affect.plugins import PluginHost
from affect.registry import BackendSpec, RecipeSpec
from affect.settings import PluginSettings
from affect.testing import FakeBackend
from affect.vision.geometry import FER2013_CROP


class Small(nn.Module):
    """What stacking has to get right: a convolution, a batch norm with statistics, a linear layer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, stride=2)
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Linear(width * 49, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        logits: torch.Tensor = self.out(torch.relu(self.norm(self.conv(faces))).flatten(1))
        return logits


class _Plugin:
    @hookimpl
    def register_recipes(self, register: Callable[[RecipeSpec], None]) -> None:
        """Register the small network."""
        register(RecipeSpec("small", "affect_small:Small", "", ""))

    @hookimpl
    def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
        """Register a backend that is no network and has no weights file."""
        register(BackendSpec("grey", lambda _: FakeBackend(), ""))


class Write(Protocol):
    """Write a weights file of the small network."""

    def __call__(
        self, name: str, seed: int = 0, *, width: int = 4, mean: float = 0.5, std: float = 0.25, **fields: Any
    ) -> Path: ...


class MakeHost(Protocol):
    """Make a host; the arguments are the table `[plugins.ensemble]`."""

    def __call__(self, **table: Any) -> PluginHost: ...


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    module = ModuleType("affect_small")
    module.Small = Small  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "affect_small", module)

    def write(name: str, seed: int = 0, *, width: int = 4, mean: float = 0.5, std: float = 0.25, **fields: Any) -> Path:
        torch.manual_seed(seed)
        network = Small(width)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
            network.norm.running_mean.normal_()  # type: ignore[union-attr]
            network.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        path = tmp_path / f"{name}.safetensors"
        chosen = {
            "input": InputSpec(size=16, channels=1, mean=(mean,), std=(std,), crop=FER2013_CROP),
            "temperature": 1.0,
            **fields,
        }
        save_checkpoint(
            path,
            network.state_dict(),
            dtype=torch.float32,
            architecture="affect_small:Small",
            arguments={"width": width},
            parameters=1,
            **chosen,
        )
        return path

    return write


@pytest.fixture
def ensemble_host() -> MakeHost:
    def make(**table: Any) -> PluginHost:
        host = PluginHost(PluginSettings.model_validate({"ensemble": table}), entry_points=[], strict=True)
        host.register(plugin, "ensemble", "tutor-affect", "1")
        host.register(_Plugin(), "small")
        return host

    return make
