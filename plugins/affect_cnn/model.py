"""Nguyen's network (My Nguyen, "Detecting Emotions through Facial Expressions", 2017, section IV).

Keras' layer table is followed row by row; the final model has 5,008,807 parameters, 256 of them the running
statistics of the batch norms, which Keras counts and torch keeps as buffers.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"leaky_relu": lambda: nn.LeakyReLU(0.3), "relu": nn.ReLU}
STARTS: Mapping[str, Callable[[torch.Tensor], object]] = {
    "glorot_uniform": nn.init.xavier_uniform_,
    "truncated_normal": lambda weight: nn.init.trunc_normal_(weight, std=0.05, a=-0.1, b=0.1),  # as Keras cuts it
}


class FractionalMaxPool(nn.Module):
    """2x2 pools at random places (Graham 2015) in training; in eval mode at fixed ones: one face has one answer.

    The fixed places are those of torch for a draw of .5, gathered by hand: ONNX has no such pool.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return [N, C, side, side]."""
        if self.training:
            return nn.functional.fractional_max_pool2d(maps, 2, output_size=self.side)
        rows, columns = (self._starts(int(size)).to(maps.device) for size in maps.shape[2:])
        tall = torch.maximum(maps[:, :, rows], maps[:, :, rows + 1])
        return torch.maximum(tall[:, :, :, columns], tall[:, :, :, columns + 1])

    def _starts(self, size: int) -> torch.Tensor:
        """Return the first of the two rows (or columns) of each pool, [side]."""
        step = (size - 2) / (self.side - 1)
        places = [int((k + 0.5) * step) - int(0.5 * step) for k in range(self.side - 1)]
        return torch.tensor([*places, size - 2])


class Nguyen2017(nn.Module):
    """Three convolutions and two dense layers on the central 42x42 of a 48x48 grey face.

    Args:
        batch_norm: The final model has it; the first one (5,008,295 parameters) had not.
        dropout: Rate before the dense part. The report tried "higher and lower than 20 %".
        activation: `leaky_relu` (slope .3) of the final model, or `relu`, which the report tried first.
        init: Of all weights: Keras' default `glorot_uniform`, or `truncated_normal` (deviation .05), which it tried.
        first_conv: A 3x3 convolution more, before the first (appendix: "deeper"); 32 filters are ours.
        extra_dense: Neurons of a dense layer more before the output; the appendix tried 1000. 0 has none.
        pool: Of the first block: `max`, or `fractional` (Graham 2015), which the report names as future work; from 42
            to 28 pixels, a factor of 1.5.

    Shapes:
        [N, 1, 48, 48], centred and standardised -> logits [N, 7].
    """

    def __init__(
        self,
        *,
        batch_norm: bool = True,
        dropout: float = 0.2,
        activation: Literal["leaky_relu", "relu"] = "leaky_relu",
        init: Literal["glorot_uniform", "truncated_normal"] = "glorot_uniform",
        first_conv: bool = False,
        extra_dense: int = 0,
        pool: Literal["max", "fractional"] = "max",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS or init not in STARTS:
            raise ValueError(
                f"activation is one of {', '.join(ACTIVATIONS)}, init of {', '.join(STARTS)}; "
                f"got {activation!r} and {init!r}"
            )
        if pool not in ("max", "fractional") or extra_dense < 0:
            raise ValueError(f"pool is max or fractional, extra_dense 0 or more; got {pool!r} and {extra_dense}")
        activate, start = ACTIVATIONS[activation], STARTS[init]

        def norm(channels: int) -> nn.Module:
            # Keras' epsilon .001, but not its momentum: .99 of the old value leaves the running statistics an epoch
            # behind the weights, and the validation loss that steers the learning rate jumps (training/LOG.md).
            return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1) if batch_norm else nn.Identity()

        first = [nn.Conv2d(1, 32, 3, padding=1), norm(32), activate()] if first_conv else []
        # The ceiling pads like Keras' "same": at the far edges.
        pooling = nn.MaxPool2d(3, 2, ceil_mode=True) if pool == "max" else FractionalMaxPool(28)
        self.block1 = nn.Sequential(
            *first, nn.Conv2d(32 if first else 1, 32, 5, padding=2), norm(32), activate(), pooling
        )  # [N, 32, 21, 21]; fractional 28
        self.block2 = nn.Sequential(
            nn.ZeroPad2d(1), nn.Conv2d(32, 32, 4), norm(32), activate(), nn.AvgPool2d(2)
        )  # [N, 32, 10, 10]; 13
        self.block3 = nn.Sequential(
            nn.Conv2d(32, 64, 5, padding=2), norm(64), activate(), nn.AvgPool2d(2)
        )  # [N, 64, 5, 5]; 6
        dense = [nn.Linear(3072, extra_dense), activate()] if extra_dense else []
        self.block4 = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * (5 if pool == "max" else 6) ** 2, 3072),
            activate(),
            *dense,
            nn.Linear(extra_dense or 3072, 7),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                start(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def head(self) -> nn.Module:
        """The last layer."""
        return self.block4[-1]

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, 3072 or extra_dense]: what the dense layer before the last says."""
        embedding: torch.Tensor = self.block4[:-1](self._maps(faces))
        return embedding

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7]."""
        logits: torch.Tensor = self.block4(self._maps(faces))
        return logits

    def _maps(self, faces: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.block3(self.block2(self.block1(faces[:, :, 3:45, 3:45])))
        return maps


def keras_parameter_count(model: nn.Module) -> int:
    """Count parameters as Keras does: weights plus the running mean and variance of every batch norm."""
    trained = sum(p.numel() for p in model.parameters())
    running = sum(b.numel() for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    return trained + running
