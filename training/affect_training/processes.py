"""What the processes of a distributed run must agree on before they train together."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from affect.errors import SettingsError


class SameEpoch(Callback):
    """Ends all processes unless they go on from the same epoch: else some resume while others start anew.

    Args:
        folder: Of the run, as this process sees it.
        epoch: After which this process goes on; 0 is a start.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self.folder, self.epoch = folder, epoch

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Compare, before any checkpoint is loaded.

        Raises:
            SettingsError: They differ; raised in each process, so that none waits for the others.
        """
        if trainer.world_size == 1:
            return
        own = torch.tensor([self.epoch, -self.epoch], device=trainer.strategy.root_device)
        last, first = trainer.strategy.reduce(own, reduce_op="max").tolist()
        if last != -first:
            raise SettingsError(
                f"{self.folder}: the processes go on from different epochs, {-first} to {last}; all machines must see "
                "one folder of the run: share it between them, or --fresh"
            )
