"""The moving average of a network's weights, counted without asking the device that holds them."""

from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def warming_decay(decay: float, steps: int) -> float:
    """Return the decay after so many steps: at most (1 + n) / (10 + n).

    Without that the average of the first epochs is mostly the random start (as in TensorFlow's moving averages).
    """
    return min(decay, (1 + steps) / (10 + steps))


class WeightAverage(AveragedModel):
    """Torch's exponential average of weights and buffers, with a decay that warms up.

    Torch keeps its count of steps beside the weights and reads it at each step, for which a GPU must finish all it was
    given. Here it is a number; the tensor `n_averaged` counts along, since checkpoints hold it.

    Args:
        network: What is averaged; begins the average at the first step.
        decay: Of the average, once it is warm.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.decay = decay
        self._steps: int | None = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average by a step towards the network, which is on the same device."""
        if self._steps is None:
            self._steps = int(self.n_averaged)
        kinds: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        module = self.module
        assert isinstance(module, nn.Module)
        ours, theirs = (chain(of.parameters(), of.buffers()) for of in (module, model))
        for average, now in zip(ours, theirs, strict=True):
            averages, all_now = kinds.setdefault(average.dtype, ([], []))
            averages.append(average.detach())
            all_now.append(now.detach())
        for averages, all_now in kinds.values():
            if self._steps:
                decay = warming_decay(self.decay, self._steps)
                get_ema_multi_avg_fn(decay)(averages, all_now, self._steps)  # type: ignore[no-untyped-call]
            else:
                torch._foreach_copy_(averages, all_now)
        self._steps += 1
        self.n_averaged += 1

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._steps = None
