"""The three networks of MTCNN (Zhang et al. 2016) and where their weights lie.

Layer names follow the weights that the `facenet-pytorch` 2.5.3 wheel carries (MIT; `facenet_pytorch/data/*.pt`).
Those files are state dicts in torch's own format; they are read with `weights_only=True`, which runs no code of
theirs, and only after their sha256 is that of the published wheel.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from affect.errors import BackendError, ErrorCode

Autocast = Callable[[], AbstractContextManager[object]]

SHA256: dict[str, str] = {
    "pnet": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}


class PNet(nn.Module):
    """Proposal net, fully convolutional: [N, 3, H, W] -> face probability [N, h, w], box offsets [N, 4, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities and offsets."""
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x).softmax(1)[:, 1], self.conv4_2(x)


class RNet(nn.Module):
    """Refinement net: [N, 3, 24, 24] -> face probability [N], box offsets [N, 4].

    Args:
        autocast: Makes the context the convolutions run in; the dense layers, which place the box, stay in float32.
    """

    def __init__(self, autocast: Autocast = nullcontext) -> None:
        super().__init__()
        self.autocast = autocast
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities and offsets."""
        with self.autocast():
            x = self.pool1(self.prelu1(self.conv1(x)))
            x = self.pool2(self.prelu2(self.conv2(x)))
            x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu4(self.dense4(x.float()))
        return self.dense5_1(x).softmax(1)[:, 1], self.dense5_2(x)


class ONet(nn.Module):
    """Output net: [N, 3, 48, 48] -> face probability [N], box offsets [N, 4], landmarks [N, 10].

    Args:
        autocast: As for `RNet`.
    """

    def __init__(self, autocast: Autocast = nullcontext) -> None:
        super().__init__()
        self.autocast = autocast
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2 = nn.Linear(256, 2), nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return probabilities, offsets and landmarks (five x, then five y, in units of the box)."""
        with self.autocast():
            x = self.pool1(self.prelu1(self.conv1(x)))
            x = self.pool2(self.prelu2(self.conv2(x)))
            x = self.pool3(self.prelu3(self.conv3(x)))
            x = self.prelu4(self.conv4(x)).permute(0, 3, 2, 1).flatten(1)
        x = self.prelu5(self.dense5(x.float()))
        return self.dense6_1(x).softmax(1)[:, 1], self.dense6_2(x), self.dense6_3(x)


def weights_folder() -> Path:
    """Return the folder of the wheel that holds the weights, without importing the wheel's code.

    Raises:
        BackendError: The wheel is not installed.
    """
    spec = find_spec("facenet_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise BackendError(
            "the detector `mtcnn` needs the weights of the wheel facenet-pytorch==2.5.3; pip install it, or set "
            "vision.detector to haar or yunet",
            code=ErrorCode.BACKEND_UNAVAILABLE,
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def load_nets(device: torch.device, autocast: Autocast = nullcontext) -> tuple[PNet, RNet, ONet]:
    """Build the three nets with their published weights, in channels-last memory.

    Measured on 2 AVX512-BF16 cores, O-Net, ms a face at batch 64: 1.06, channels-last .43, with bfloat16 .16.
    P-Net has too few channels to gain from bfloat16 (.59 against .85 ms a frame) and always runs in float32.

    Args:
        device: Where they run.
        autocast: Makes the context in which R-Net's and O-Net's convolutions run.

    Raises:
        BackendError: A file is missing or is not the published one.
    """
    folder = weights_folder()
    nets = PNet(), RNet(autocast), ONet(autocast)
    for net, (name, expected) in zip(nets, SHA256.items(), strict=True):
        path = folder / f"{name}.pt"
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as exc:
            raise BackendError(f"{path}: {exc.strerror}", code=ErrorCode.BACKEND_UNAVAILABLE) from exc
        if found != expected:
            raise BackendError(f"{path}: sha256 is {found}, expected {expected}", code=ErrorCode.BAD_CHECKPOINT)
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        net.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(requires_grad=False)
    return nets
