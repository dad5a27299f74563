"""Histograms of oriented gradients (Dalal & Triggs, CVPR 2005) of a batch, in torch operations that ONNX has.

The same numbers as `skimage.feature.hog` with its default gradients and hard bins, but on [N, 1, H, W] at once and
without a bin's angle: a gradient is in bin k when it lies left of the k-th border ray and right of the next.
"""

import math

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-5  # of L2-Hys, on the scale of the input
CLIP = 0.2  # Dalal & Triggs, section 6.4


class HistogramOfGradients(nn.Module):
    """Describe each face by the directions of its edges; without parameters.

    Its gradient is that of the edges' strengths; in which bin an edge lies is a step.

    Args:
        side: Height and width of the faces.
        orientations: Bins between 0 and 180 degrees.
        cell: Side of a cell in pixels.
        block: Cells on a side of the blocks that are normalised together, one cell apart.

    Shapes:
        [N, 1, side, side] -> [N, length]; ordered by block row, block column, cell row, cell column, orientation.
    """

    rays: torch.Tensor

    def __init__(self, side: int = 48, *, orientations: int = 9, cell: int = 8, block: int = 2) -> None:
        super().__init__()
        self.cell, self.block = cell, block
        self.blocks = side // cell - block + 1
        self.length = self.blocks**2 * block**2 * orientations
        angles = [math.pi * k / orientations for k in range(1, orientations)]
        rays = torch.tensor([[math.cos(a) for a in angles], [math.sin(a) for a in angles]])
        self.register_buffer("rays", rays, persistent=False)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the descriptors, float32 [N, length]."""
        x = faces.float()
        # Central differences; zero at the border, where one neighbour is missing.
        down = functional.pad(x[:, :, 2:, :] - x[:, :, :-2, :], (0, 0, 1, 1))
        right = functional.pad(x[:, :, :, 2:] - x[:, :, :, :-2], (1, 1, 0, 0))
        squares = down * down + right * right
        edge = squares > 0  # the root of nothing has no gradient
        magnitude = torch.where(edge, torch.sqrt(torch.where(edge, squares, 1.0)), 0.0)
        # Direction without sign: fold the lower half plane onto the upper, [0, 180) degrees.
        sign = torch.where((down < 0) | ((down == 0) & (right < 0)), -1.0, 1.0)
        down, right = down * sign, right * sign
        cosines, sines = self.rays.view(2, 1, -1, 1, 1)
        beyond = (down * cosines >= right * sines).float()  # [N, orientations - 1, H, W]: past the k-th border
        every, none = torch.ones_like(magnitude), torch.zeros_like(magnitude)
        bins = torch.cat((every, beyond), 1) - torch.cat((beyond, none), 1)
        cells = functional.avg_pool2d(bins * magnitude, self.cell)  # [N, orientations, rows, columns]
        shifts = [(row, column) for row in range(self.block) for column in range(self.block)]
        blocks = torch.stack(
            [cells[:, :, r : r + self.blocks, c : c + self.blocks] for r, c in shifts], 1
        )  # [N, cells of a block, orientations, rows, columns]
        v = blocks.permute(0, 3, 4, 1, 2).flatten(3)
        v = (v / torch.sqrt((v * v).sum(3, keepdim=True) + EPSILON**2)).clamp(max=CLIP)
        v = v / torch.sqrt((v * v).sum(3, keepdim=True) + EPSILON**2)
        return v.flatten(1)
