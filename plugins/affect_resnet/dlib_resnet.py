"""The face-identity ResNet of dlib: 29 convolutions, 5.6 M parameters, a 256-vector before its last matrix.

The layers follow `faceRecognitionNet/` of the npm package @vladmandic/face-api 1.7.15, and their names are those of
its weights. dlib trained the network to tell persons apart; the part after the embedding is ours.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from affect_resnet.face_network import EmotionHead, IdentityNetwork

MEAN_RGB = (122.782, 117.001, 104.298)  # dlib's input_rgb_image_sized
RANGE = 256.0  # dlib's too; face-api divides by 255
MEAN_GREY = sum(MEAN_RGB) / len(MEAN_RGB)
SMALLEST = 103  # below it the last 3x3 convolution would see less than 3x3

# (name, channels, halves the side)
BLOCKS = (
    ("conv32_1", 32, False),
    ("conv32_2", 32, False),
    ("conv32_3", 32, False),
    ("conv64_down", 64, True),
    ("conv64_1", 64, False),
    ("conv64_2", 64, False),
    ("conv64_3", 64, False),
    ("conv128_down", 128, True),
    ("conv128_1", 128, False),
    ("conv128_2", 128, False),
    ("conv256_down", 256, True),
    ("conv256_1", 256, False),
    ("conv256_2", 256, False),
    ("conv256_down_out", 256, True),
)


class ConvNorm(nn.Module):
    """A convolution and the batch norm that stands for dlib's scale layer."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, outputs, H', W']."""
        y: torch.Tensor = self.norm(self.conv(x))
        return y


class Residual(nn.Module):
    """Two convolutions around a shortcut; when it halves the side, the shortcut is a 2x2 mean.

    The stride-2 convolution is unpadded: of an even side it leaves one row and column less than the mean, and zeros
    are appended. Channels the shortcut does not have are zeros too.
    """

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.more_channels = outputs - inputs
        self.conv1 = ConvNorm(inputs, outputs, stride=2 if down else 1)
        self.conv2 = ConvNorm(outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, outputs, H or H // 2, W or W // 2]."""
        out: torch.Tensor = self.conv2(functional.relu(self.conv1(x), inplace=True))
        if not self.down:
            return functional.relu(out + x, inplace=True)
        short = functional.avg_pool2d(x, 2)
        missing_h, missing_w = short.shape[2] - out.shape[2], short.shape[3] - out.shape[3]
        if missing_h or missing_w:
            out = functional.pad(out, (0, missing_w, 0, missing_h))
        if self.more_channels:
            short = functional.pad(short, (0, 0, 0, 0, 0, self.more_channels))
        return functional.relu(out + short, inplace=True)


class DlibResNet(IdentityNetwork):
    """dlib's face ResNet with a head for emotions.

    Faces are grey, so the three equal channels of the original are one here: the first kernels are summed over RGB
    when weights are imported, which is exact because that convolution is unpadded.

    Args:
        side: Side the faces are enlarged to; dlib's own is 150.
        hidden: Sizes of extra dense layers before the last one.
        dropout: Before each dense layer.
        heads: 2 gives a second set of logits in training.

    Shapes:
        [N, 1, S, S], 0-1 -> logits [N, 7]; [N, 2, 7] in training mode with two heads.
    """

    def __init__(self, side: int = 112, hidden: Sequence[int] = (), dropout: float = 0.2, heads: int = 1) -> None:
        super().__init__(side, SMALLEST)
        self.conv32_down = ConvNorm(1, 32, kernel=7, stride=2)
        inputs = 32
        for name, outputs, down in BLOCKS:
            self.add_module(name, Residual(inputs, outputs, down=down))
            inputs = outputs
        self.head = EmotionHead(inputs, hidden, dropout, heads)

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, 256]: the means of the last maps."""
        x = self.enlarge((faces * 255.0 - MEAN_GREY) / RANGE)
        x = functional.relu(functional.max_pool2d(self.conv32_down(x), 3, 2), inplace=True)  # either order, less work
        for name, _, _ in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))
