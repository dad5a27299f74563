"""Networks of known behaviour, opened for explanation."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from affect_training.explain.network import Opened
from torch import nn

from affect.inference.checkpoint import InputSpec
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.vision.geometry import FER2013_CROP

Open = Callable[..., Opened]


@dataclass
class TorchLike:
    """All that is asked of a torch backend."""

    model: nn.Module
    input: InputSpec
    temperature: float = 2.0
    power: float = 1.0

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(faces)
        return logits

    def warmup(self) -> None: ...

    def close(self) -> None: ...


class Corner(nn.Module):
    """Emotion k is the light in one place: 0 upper left, 1 lower right, others never; looks at 42x42 of 48x48."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.conv.weight.data.fill_(1 / 9)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        maps = self.act(self.conv(faces[:, :, 3:45, 3:45]))
        first, second = maps[:, 0, :14, :14].mean(dim=(1, 2)), maps[:, 1, 28:, 28:].mean(dim=(1, 2))
        logits: torch.Tensor = torch.stack([first, second, *[torch.zeros_like(first)] * 5], dim=1)
        return 8 * logits


class Block(nn.Module):
    """A residual block with squeeze-and-excitation, whose ReLU is called twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze = nn.Conv2d(channels, channels, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.two(self.act(self.one(x))))
        y = y * self.squeeze(y.mean(dim=(2, 3), keepdim=True)).sigmoid()
        result: torch.Tensor = self.act(x + y)
        return result


class Residual(nn.Module):
    """A stem and a residual block."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 5, stride=4, padding=2)
        self.block = Block(4)
        self.head = nn.Linear(4, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        logits: torch.Tensor = self.head(self.block(self.stem(faces)).mean(dim=(2, 3)))
        return logits


@pytest.fixture
def open_network() -> Open:
    """Open a network as a backend of grey or RGB crops of 48 pixels, 0-1."""

    def make(model: nn.Module, channels: int = 1, name: str = "test") -> Opened:
        spec = InputSpec(size=48, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels, crop=FER2013_CROP)
        model.requires_grad_(requires_grad=False)
        return Opened(FaceClassifier(TorchLike(model, spec), Device("cpu", "float32")), name)

    return make


@pytest.fixture
def corner(open_network: Open) -> Opened:
    return open_network(Corner())


@pytest.fixture
def residual(open_network: Open) -> Opened:
    torch.manual_seed(0)
    return open_network(Residual())
