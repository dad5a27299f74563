"""What all networks here share: grey faces enlarged, an embedding, a head for emotions, and batch norms put back.

Published face networks come with their batch norms turned into a scale and a shift of each channel. Before they are
trained further these become batch norms again: with running statistics measured on faces, and weights and biases such
that the network computes what it did (`calibrate`).
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from affect.errors import SettingsError
from affect.labels import EMOTIONS


class EmotionHead(nn.Module):
    """From an embedding to emotions, through as many extra dense layers as are wanted.

    Args:
        features: Length of the embedding.
        hidden: Sizes of the dense layers (ReLU) before the last one; Boulis et al. 2019 take (4096, 1024).
        dropout: Rate before each dense layer.
        heads: 1, or 2: a second set of logits that learns another target (FER+ votes) and serves in training only.

    Shapes:
        [N, features] -> logits [N, 7]; [N, heads, 7] in training mode with more than one head.
    """

    def __init__(self, features: int, hidden: Sequence[int] = (), dropout: float = 0.0, heads: int = 1) -> None:
        super().__init__()
        if heads not in (1, 2):
            raise SettingsError(f"model.heads is 1 or 2, not {heads}")
        self.heads = heads
        layers: list[nn.Module] = []
        size = features
        for width in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(size, width), nn.ReLU(inplace=True)]
            size = width
        self.hidden = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(size, heads * len(EMOTIONS))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits: torch.Tensor = self.logits(self.dropout(self.hidden(features)))
        if self.heads == 1:
            return logits
        both = logits.view(len(logits), self.heads, len(EMOTIONS))
        return both if self.training else both[:, 0]


class FaceNetwork(nn.Module):
    """A network for grey faces, which it enlarges first.

    Args:
        side: Side the faces are enlarged to (bilinear), in pixels.
        smallest: The smallest side the network can take.

    Shapes:
        [N, 1, S, S], 0-1 -> logits [N, 7]; [N, 2, 7] in training mode with two heads.

    Raises:
        SettingsError: The side is too small.
    """

    head: nn.Module

    def __init__(self, side: int, smallest: int) -> None:
        super().__init__()
        if side < smallest:
            raise SettingsError(f"model.side: {type(self).__name__} takes faces from side {smallest} up, not {side}")
        self.side = side

    @abstractmethod
    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, D] of faces [N, 1, S, S], 0-1."""

    def enlarge(self, faces: torch.Tensor) -> torch.Tensor:
        """Return [N, C, side, side]."""
        size = (self.side, self.side)
        return functional.interpolate(faces, size=size, mode="bilinear", align_corners=False)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits: torch.Tensor = self.head(self.features(faces))
        return logits


class IdentityNetwork(FaceNetwork):
    """A face network whose published weights come without batch norms.

    Attributes:
        calibrated: False from the import of such weights until `calibrate`.
    """

    calibrated = True

    @torch.no_grad()
    def calibrate(self, faces: torch.Tensor, batch_size: int = 64) -> None:
        """Measure the running statistics of all batch norms without changing what the network computes.

        Without it a fresh import answers right but trains wrong: in training mode a batch norm takes the statistics
        of the batch, and only weights and biases made for real statistics give the same answer then. A network
        without imported weights, or calibrated already, stays as it is.

        Args:
            faces: float [N, 1, S, S], 0-1; a few hundred training faces do.
            batch_size: Faces at a time.
        """
        if self.calibrated:
            return
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        device = norms[0].weight.device
        seen = {norm: _Moments(norm.num_features) for norm in norms}
        handles = [norm.register_forward_pre_hook(lambda m, args: seen[m].add(args[0])) for norm in norms]
        was_training = self.training
        self.eval()
        try:
            for start in range(0, len(faces), batch_size):
                self.features(faces[start : start + batch_size].to(device))
        finally:
            for handle in handles:
                handle.remove()
            self.train(was_training)
        for norm in norms:
            refit(norm, *seen[norm].result())
        self.calibrated = True


class _Moments:
    """Mean and variance of each channel of tensors [N, C, H, W], summed in float64."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)

    def add(self, x: torch.Tensor) -> None:
        values = x.detach().double()
        self.count += values.numel() // values.shape[1]
        self.total += values.sum((0, 2, 3)).cpu()
        self.squares += values.square().sum((0, 2, 3)).cpu()

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0)


@torch.no_grad()
def refit(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Give a batch norm other running statistics, and weight and bias such that it computes the same as before."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale * (norm.running_var.double() + norm.eps).sqrt())
    norm.bias.copy_(shift + norm.running_mean.double() * scale)


@torch.no_grad()
def set_affine(norm: nn.BatchNorm2d, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Make a batch norm compute x * scale + shift with running mean 0 and variance 1 (to be calibrated)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.weight.copy_(scale.double() * (1.0 + norm.eps) ** 0.5)
    norm.bias.copy_(shift)
