"""What the networks of this package share: a body with a head, and Keras' ways of starting and normalising."""

import torch
from torch import nn

from affect.labels import EMOTIONS

CLASSES = len(EMOTIONS)


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
