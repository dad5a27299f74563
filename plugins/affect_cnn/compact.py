"""`compact`: a small residual network for 48x48 grey faces, trained from scratch.

A 2x2 space-to-depth stem keeps all pixels and quarters the cost; squeeze-and-excitation (Hu 2018) closes each block.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

VIEW = 44
"""Side of the central view in pixels; training cuts its random views to the same side."""


class SqueezeExcite(nn.Module):
    """Scales channels by a gate computed from their means; [N, C, H, W] -> the same."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.down = nn.Linear(channels, max(channels // reduction, 8))
        self.up = nn.Linear(max(channels // reduction, 8), channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled maps."""
        gate = torch.sigmoid(self.up(functional.relu(self.down(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None]


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, a gate, and a shortcut (He 2016, basic block)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.gate = SqueezeExcite(outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            pool: nn.Module = nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, outside, H / stride, W / stride]."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.gate(self.norm2(self.conv2(y)))
        return functional.relu(y + self.shortcut(x))


class Compact(nn.Module):
    """Residual network of four stages on the central 44x44 of a 48x48 grey face.

    Args:
        widths: Channels of the four stages.
        depths: Blocks of the four stages.
        heads: 2 adds a head that learns the FER+ votes: training mode returns [N, 2, 7].
        votes_share: Share of the second head's logits in the answer of eval mode.
        dropout: Rate before the heads.

    Shapes:
        [N, 1, 48, 48] or [N, 1, 44, 44], centred and standardised -> logits [N, 7].
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (48, 96, 192, 320),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: int = 2,
        votes_share: float = 0.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if heads not in (1, 2) or not 0 <= votes_share <= heads - 1:
            raise ValueError(f"heads is 1 or 2, votes_share 0 with one head; got {heads} and {votes_share}")
        self.heads, self.votes_share = heads, votes_share
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )  # [N, widths[0], 22, 22]
        blocks: list[nn.Module] = []
        inside = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for number in range(depth):
                blocks.append(Block(inside, width, 2 if stage > 0 and number == 0 else 1))
                inside = width
        self.body = nn.Sequential(*blocks)  # [N, widths[3], 3, 3]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inside, 7 * heads)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, widths[3]]."""
        margin = (faces.shape[-1] - VIEW) // 2
        if margin > 0:
            faces = faces[:, :, margin : margin + VIEW, margin : margin + VIEW]
        embedding: torch.Tensor = self.body(self.stem(faces)).mean(dim=(2, 3))
        return embedding

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]; [N, 2, 7] in training mode with two heads."""
        logits: torch.Tensor = self.head(self.dropout(self.features(faces)))
        if self.heads == 1:
            return logits
        both = logits.view(-1, 2, 7)
        if self.training:
            return both
        return both[:, 0] * (1 - self.votes_share) + both[:, 1] * self.votes_share
