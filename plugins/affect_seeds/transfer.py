"""Networks that others have trained on colour photographs, with a new dense part for the seven emotions.

The backbone is timm's, built without weights; `affect_seeds.pretrained` brings those. Faces come grey, 48x48 and 0-1;
scaling them up, repeating the channel and normalising is the network's own business, so that it is served like any.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import timm
import torch
from torch import nn
from torch.nn import functional

from affect_seeds.layers import CLASSES, start_like_keras

Backbone = Literal["vgg16", "vgg19", "resnet50", "legacy_seresnet50"]

# Of the photographs of ImageNet, on the 0-1 scale; what timm's weights of all four were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 32  # pixels of the input that become one of the last map, in all four


class Convolutions(nn.Module):
    """The convolutional part of timm's VGG, under timm's (and torchvision's) names: `features.N`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        # Its dense part of 120 million weights is not wanted; a ratio of 1/64 builds a small one to drop.
        vgg = timm.create_model(name, pretrained=False, num_classes=0, mlp_ratio=1 / 64)
        self.features = vgg.get_submodule("features")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last map, [N, 512, side / 32, side / 32]."""
        maps: torch.Tensor = self.features(images)
        return maps


class Transfer(nn.Module):
    """A backbone, then [dropout - FC - ReLU] x M, dropout if wanted, FC 7.

    Args:
        backbone: Which of timm's networks. `legacy_seresnet50` is Hu's SE-ResNet50, with the stride in the first
            convolution of a block, as keras-vggface's SENet50 has it.
        side: Faces are scaled to it, bilinear.
        flatten: VGG only: give the dense part the whole last map, not its mean.
        hidden: Neurons of the new dense layers.
        dropout: Rate before each dense layer.
        last_dropout: Also before the one that answers.

    Shapes:
        [N, 1, 48, 48], 0-1 -> logits [N, 7].

    Raises:
        ValueError: No such backbone, a side below 32, or `flatten` for a backbone that ends in a mean.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        side: int = 197,
        flatten: bool = False,
        hidden: Sequence[int] = (4096, 1024),
        dropout: float = 0.5,
        last_dropout: bool = True,
    ) -> None:
        super().__init__()
        if backbone not in get_args(Backbone):
            raise ValueError(f"backbone is one of {', '.join(get_args(Backbone))}, not {backbone!r}")
        if side < STRIDE:
            raise ValueError(f"side must be at least {STRIDE} pixels, got {side}")
        self.name, self.side = backbone, side
        if backbone.startswith("vgg"):
            self.backbone: nn.Module = Convolutions(backbone)
            self.pool = nn.Sequential(nn.Identity() if flatten else nn.AdaptiveAvgPool2d(1), nn.Flatten())
            width = 512 * ((side // STRIDE) ** 2 if flatten else 1)
        elif flatten:
            raise ValueError(f"flatten is for VGG; {backbone} ends in the mean of its last map")
        else:
            self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
            self.pool = nn.Sequential()
            width = 2048
        layers: list[nn.Module] = []
        for neurons in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(width, neurons), nn.ReLU()]
            width = neurons
        if last_dropout:
            layers.append(nn.Dropout(dropout))
        self.head = nn.Sequential(*layers, nn.Linear(width, CLASSES))
        start_like_keras(self.head)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return what the new dense part sees, [N, D]."""
        if faces.shape[-1] != self.side:
            faces = functional.interpolate(faces, size=(self.side, self.side), mode="bilinear", align_corners=False)
        features: torch.Tensor = self.pool(self.backbone((faces - self.mean) / self.std))
        return features

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        logits: torch.Tensor = self.head(self.features(faces))
        return logits
