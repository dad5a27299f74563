"""What each face is trained towards: its label, the FER+ votes, a teacher's opinion; and what it weighs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from affect.errors import SettingsError
from affect.labels import EMOTIONS
from affect_training.config import TrainConfig
from affect_training.data import Split
from affect_training.data.balance import class_weights
from affect_training.losses import distillation, loss_of, one_hot

CLASSES = len(EMOTIONS)


@dataclass(frozen=True, slots=True)
class Targets:
    """Target distributions of a batch or a whole split, on the device.

    Attributes:
        label: float32 [N, 7], smoothed one-hot.
        votes: float32 [N, 7] or None; a row of zeros means no vote.
        teacher: float32 [N, 7] or None.
        weight: float32 [N].
    """

    label: torch.Tensor
    votes: torch.Tensor | None
    teacher: torch.Tensor | None
    weight: torch.Tensor

    @classmethod
    def of(cls, split: Split, config: TrainConfig, teacher: NDArray[np.float32] | None) -> "Targets":
        """Collect the targets of a split.

        Raises:
            SettingsError: The loss wants votes, and the data has none.
        """
        if config.votes_weight > 0 and split.votes is None:
            raise SettingsError("train.votes_weight wants FER+ votes: set data.votes = true, with fer2013new.csv there")
        votes = torch.from_numpy(split.votes) if split.votes is not None and config.votes_weight > 0 else None
        return cls(
            one_hot(torch.from_numpy(split.labels), CLASSES, config.label_smoothing),
            votes,
            None if teacher is None else torch.from_numpy(teacher),
            torch.ones(len(split)) if split.weights is None else torch.from_numpy(split.weights),
        )

    def take(self, index: torch.Tensor, device: torch.device) -> "Targets":
        """Return the rows of an index, on a device."""

        def rows(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor[index].to(device, non_blocking=True)

        label, weight = rows(self.label), rows(self.weight)
        assert label is not None
        assert weight is not None
        return Targets(label, rows(self.votes), rows(self.teacher), weight)

    def mix(self, partner: torch.Tensor, share: float) -> "Targets":
        """Mix each row with its partner's, as the faces were mixed: each has a say by its share and its weight."""
        weight = self.weight * share + self.weight[partner] * (1 - share)
        own = (self.weight * share / weight.clamp(min=1e-12))[:, None]

        def mixed(tensor: torch.Tensor) -> torch.Tensor:
            return tensor * own + tensor[partner] * (1 - own)

        return Targets(
            mixed(self.label),
            None if self.votes is None else mixed(self.votes),
            None if self.teacher is None else mixed(self.teacher),
            weight,
        )


class Objective:
    """The loss of a batch, as a run's `train` table says.

    With a network of two heads ([N, 2, 7]) the second learns the votes; with one head label and votes are one mixed
    target. A teacher's opinion is learnt by the first head.
    """

    def __init__(self, config: TrainConfig, labels: NDArray[np.int64], device: torch.device) -> None:
        self.config = config
        counts = np.bincount(labels, minlength=CLASSES).astype(np.float64)
        prior = torch.from_numpy(counts / counts.sum()).float().clamp(min=1e-6)
        self.adjust = (config.logit_adjustment * prior.log()).to(device) if config.logit_adjustment else None
        self.class_weights = None
        if config.class_weights == "balanced":
            self.class_weights = torch.from_numpy(class_weights(labels)).to(device)

    def __call__(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return the mean loss, a scalar, of logits [N, 7] or [N, 2, 7]."""
        config, share = self.config, self.config.votes_weight
        first = logits[:, 0] if logits.ndim == 3 else logits
        label = targets.label
        votes = targets.votes
        if votes is not None and logits.ndim == 2:
            # A face without votes is left to its label; one mixed with such a face (mixup) by its share.
            label = label * (1 - share * votes.sum(1, keepdim=True)) + votes * share
        loss = self._loss(first, label)
        if votes is not None and logits.ndim == 3:
            voted = votes.sum(1)
            second = self._loss(logits[:, 1], votes / voted.clamp(min=1e-6)[:, None]) * voted
            loss = (1 - share * voted) * loss + share * second  # what nobody voted on is left to its label
        if targets.teacher is not None:
            taught = distillation(first, targets.teacher, config.teacher_temperature)
            loss = (1 - config.teacher_weight) * loss + config.teacher_weight * taught
        return (loss * targets.weight).mean()

    def _loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        adjusted = logits if self.adjust is None else logits + self.adjust
        return loss_of(self.config.loss, adjusted, target, self.class_weights, self.config.focal_gamma)
