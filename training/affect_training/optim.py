"""Optimisers and learning-rate schedules out of a run's `train` table; torch's own, put together."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from affect.errors import SettingsError
from affect_training.config import TrainConfig
from affect_training.network import head_parameters

ONE_CYCLE_RISE = 0.3
"""Share of the steps in which the rate of a one-cycle rises, when nothing else is said (torch's own)."""


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimiser: kernels decay, biases and norms do not; the body may learn slower than the head.

    Raises:
        SettingsError: A rate for the body of a network that names no head, or everything is frozen.
    """
    decay = (
        config.weight_decay + 2 * config.l2_kernels
    )  # Keras adds alpha * w^2 to the loss: twice alpha in the gradient
    head = head_parameters(model)
    if config.body_lr_factor != 1 and not head:
        raise SettingsError(f"train.body_lr_factor: {type(model).__name__} names no `head`, so it has no body either")
    groups = []
    for in_head in (True, False):
        factor = 1.0 if in_head or not head else config.body_lr_factor
        own = [p for p in model.parameters() if p.requires_grad and (id(p) in head) == in_head]
        for kernels in (True, False):
            parameters = [p for p in own if (p.ndim > 1) == kernels]
            if parameters and factor > 0:
                weight_decay = decay if kernels else 0.0
                groups.append({"params": parameters, "weight_decay": weight_decay, "lr": config.lr * factor})
    if not groups:
        raise SettingsError("train.freeze, train.body_lr_factor: every parameter is frozen; leave some to be trained")
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    kind: type[torch.optim.Adam | torch.optim.RAdam] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "radam": torch.optim.RAdam,
    }[config.optimizer]
    return kind(groups, lr=config.lr)


def build_step_schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> LambdaLR | OneCycleLR | None:
    """Return the schedule that moves with every step, or None."""
    total = config.epochs * steps_per_epoch
    if config.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        share = ONE_CYCLE_RISE if config.warmup is None else config.warmup
        if 0 < share * total <= 1:  # torch divides by the length of the rise less one step
            share = min(1.5 / total, 0.9)
        return OneCycleLR(optimizer, peaks, total_steps=total, pct_start=share, cycle_momentum=False)
    if config.schedule == "cosine":
        warm = max(int((config.warmup or 0) * total), 1)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(total - warm, 1))))

        return LambdaLR(optimizer, factor)
    return None


def build_plateau(optimizer: torch.optim.Optimizer, config: TrainConfig) -> ReduceLROnPlateau | None:
    """Return the schedule that cuts the rate when the validation loss has not fallen, or None."""
    if config.schedule != "plateau":
        return None
    # Keras cuts when `patience` epochs have brought nothing, torch when one more than that has.
    return ReduceLROnPlateau(optimizer, factor=config.plateau_factor, patience=config.plateau_epochs - 1, threshold=0.0)
