"""What the networks of this package share: a body with a head, dropout, Keras' ways of starting and normalising."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from affect.labels import EMOTIONS

CLASSES = len(EMOTIONS)
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.3),  # Keras' slope
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


class BodyAndHead(nn.Module):
    """A classifier of two parts.

    Attributes:
        body: Faces [N, 1, 48, 48] -> features [N, D].
        head: Features -> logits [N, 7].
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return what the head sees, [N, D]."""
        features: torch.Tensor = self.body(faces)
        return features

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        logits: torch.Tensor = self.head(self.features(faces))
        return logits


class MapDropout(nn.Dropout):
    """nn.Dropout whose dice a processor throws fast: for feature maps, where they are millions a step.

    Torch draws them one by one where MKL's generator is not used (any processor but Intel's): a fifth of the step of
    `stanford-deep`. NumPy's SFC64, seeded from torch's own generator and so resumed with it, is ten times as fast. The
    rate is rounded to 1/65536. Never in place. On a GPU and in evaluation it is nn.Dropout itself.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x of any shape with a share `p` of it set to zero and the rest scaled by 1 / (1 - p)."""
        if not self.training or x.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(x)
        strides = torch.empty_like(x, device="meta").stride()  # without gaps, in the memory order of x
        seed = int(torch.randint(2**62, ()))
        dice = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16)
        threshold = min(round(self.p * 2**16), 2**16 - 1) - 2**15
        kept = torch.from_numpy(dice).as_strided(x.shape, strides) >= threshold
        return x * kept.to(x.dtype).mul_(1 / (1 - self.p))


def activation(name: str) -> nn.Module:
    """Return a layer of `ACTIVATIONS`.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {name!r}")
    return ACTIVATIONS[name]()


def start_like_keras(network: nn.Module) -> None:
    """Set kernels to Glorot uniform and biases to zero, the defaults of Keras' Conv2D and Dense."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def batch_norm(channels: int, *, flat: bool = False) -> nn.Module:
    """Return a batch norm with Keras' epsilon, .001; `flat` for [N, C] instead of [N, C, H, W].

    Not with Keras' momentum: .99 of the old value leaves the running statistics an epoch behind the weights, and the
    validation loss jumps (training/LOG.md).
    """
    return nn.BatchNorm1d(channels, eps=1e-3) if flat else nn.BatchNorm2d(channels, eps=1e-3)
