"""What happens beside the training step: the checkpoint after every epoch, and the progress bar."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar

from affect.errors import CheckpointError
from affect_training.kept import keep_epoch
from affect_training.processes import by_the_first
from affect_training.storage import DEVICE_ERRORS


class EveryEpoch(Checkpoint):
    """Write `last.ckpt` when an epoch is over, by way of a partial file: the last good one stays whatever happens.

    As a `Checkpoint` it runs after all other hooks of the epoch, so what it holds is complete.

    Args:
        path: `last.ckpt` in the folder of the run.
        files: Of the trainer.
        keep: Keep every Nth epoch beside it as well (`affect_training.kept`); 0 keeps none.
    """

    def __init__(self, path: Path, files: "WholeFile", keep: int = 0) -> None:
        self.path, self.files, self.keep = path, files, keep

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and replace; keep this epoch when it is its turn.

        Raises:
            CheckpointError: It could not be written (a full disk, say); the file of the epoch before is untouched.
            AffectError: It could not, in another process than the first.
        """
        partial, epoch = self.path.with_suffix(".partial"), trainer.current_epoch + 1
        trainer.save_checkpoint(partial)  # all processes take part, and wait for the one that writes
        by_the_first(trainer, lambda: self._take(partial, epoch))

    def _take(self, partial: Path, epoch: int) -> None:
        try:
            if self.files.error is not None:
                raise self.files.error
            partial.replace(self.path)
        except (OSError, RuntimeError) as exc:
            partial.unlink(missing_ok=True)
            if isinstance(exc, DEVICE_ERRORS):
                raise
            raise CheckpointError(
                f"{self.path}: could not be written, is the disk full? ({exc}); the one of the epoch before is intact, "
                "and the same command goes on from it"
            ) from exc
        if self.keep and epoch % self.keep == 0:
            keep_epoch(self.path.parent, epoch)


class WholeFile(TorchCheckpointIO):
    """Writes a checkpoint where it is told, not by way of the system's folder for temporary files.

    Attributes:
        error: Why the last one could not be written. Raised at once, it would leave the other processes waiting.
    """

    error: Exception | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write with torch alone; `EveryEpoch` sees to it that the file is whole, and raises `error`."""
        self.error = None
        try:
            torch.save(checkpoint, path)
        except Exception as exc:
            self.error = exc


class EpochBar(RichProgressBar):
    """Lightning's bar for epoch, step and time left, without its version number."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what stands right of the bar."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return dict(shown)


def is_interactive() -> bool:
    """Whether a person watches: standard output is a terminal, and nobody asked for plain lines."""
    return os.isatty(1) and "NO_PROGRESS" not in os.environ


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advertisements and the warnings that do not fit a run like this."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        warnings.filterwarnings("ignore", message=".*[Cc]heckpoint directory.*")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        warnings.filterwarnings("ignore", message=".*training dataloader is not resumable.*")
        warnings.filterwarnings("ignore", message=".*is not a subclass of.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(tensorboard|google|pkg_resources).*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
