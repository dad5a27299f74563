"""The configurable network of Alizadeh & Fazel: convolutions, then dense layers, with or without HOG between them."""

from collections.abc import Sequence

import torch
from torch import nn

from affect_seeds.hog import HistogramOfGradients
from affect_seeds.layers import CLASSES, MapDropout

SIDE = 48


class AlizadehFazel(nn.Module):
    """[conv - batch norm - ReLU - dropout - max-pool] x M, [FC - batch norm - ReLU - dropout] x N, FC 7.

    Args:
        convolutions: For each layer (filters, side of the kernel, side of the pooling window; 1 = no pooling). Zeros
            around the input keep its size.
        hidden: Neurons of the dense layers.
        conv_dropout: Rate after each convolution.
        dropout: Rate after each dense layer.
        hog: Give the dense part the HOG descriptor of the face beside the features of the convolutions.

    Shapes:
        [N, 1, 48, 48] -> logits [N, 7]. Weights start as Torch does it: uniform within 1 / sqrt(fan in).
    """

    def __init__(
        self,
        *,
        convolutions: Sequence[tuple[int, int, int]] = ((64, 7, 2), (128, 5, 2), (512, 3, 2)),
        hidden: Sequence[int] = (256, 512),
        conv_dropout: float = 0.5,
        dropout: float = 0.5,
        hog: bool = False,
    ) -> None:
        super().__init__()
        channels, side = 1, SIDE
        layers: list[nn.Module] = []
        for filters, kernel, pool in convolutions:
            layers += [nn.Conv2d(channels, filters, kernel, padding=kernel // 2), nn.BatchNorm2d(filters), nn.ReLU()]
            layers.append(MapDropout(conv_dropout))
            if pool > 1:
                layers.append(nn.MaxPool2d(pool))
            channels, side = filters, side // pool
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        width = channels * side * side
        self.hog = HistogramOfGradients(SIDE) if hog else None
        if self.hog is not None:
            width += self.hog.length
        layers = []
        for neurons in hidden:
            layers += [nn.Linear(width, neurons), nn.BatchNorm1d(neurons), nn.ReLU(), nn.Dropout(dropout)]
            width = neurons
        self.dense = nn.Sequential(*layers)
        self.head = nn.Linear(width, CLASSES)

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the last dense layer, [N, last of `hidden`]."""
        x: torch.Tensor = self.convolutions(faces)
        if self.hog is not None:
            x = torch.cat((x, self.hog(faces).to(x.dtype)), 1)
        features: torch.Tensor = self.dense(x)
        return features

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        logits: torch.Tensor = self.head(self.features(faces))
        return logits
