"""Judges every epoch on PublicTest: writes the log, keeps the best weights, ends the run when it is time."""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.callbacks import Callback

from affect_training.evaluation import metrics
from affect_training.module import FaceModule
from affect_training.predict import predict_logits
from affect_training.processes import by_the_first
from affect_training.selection import selection_score, watched
from affect_training.storage import save_tensors, save_text

if TYPE_CHECKING:
    from affect_training.run import Run

Progress = Callable[[str], None]
LOG_COLUMNS = ("epoch", "lr", "train_loss", "public_loss", "public_accuracy", "public_macro_recall", "seconds")


@dataclass(frozen=True, slots=True)
class EpochResult:
    """How an epoch ended; loss, accuracy and macro recall are of PublicTest, single view."""

    epoch: int
    lr: float
    train_loss: float
    loss: float
    accuracy: float
    macro_recall: float
    seconds: float


@dataclass(slots=True)
class State:
    """Where a run stands; saved after every epoch.

    Attributes:
        best_loss: The lowest of what `train.watch` names: PublicTest loss, or error rate.
    """

    epoch: int = 0
    best_loss: float = float("inf")
    best_loss_epoch: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    seconds: float = 0.0


class Judge(Callback):
    """Judges the network after every epoch, writes log and best weights, and ends the run when it is time."""

    module: FaceModule

    def __init__(
        self,
        run: "Run",
        progress: Progress,
        on_epoch: Callable[[EpochResult], None] | None,
        stop_after: int | None,
    ) -> None:
        self.run, self.progress, self.on_epoch = run, progress, on_epoch
        self.last = None if stop_after is None else run.state.epoch + stop_after
        self.started = time.monotonic()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def after_epoch(self, train_loss: float) -> float:
        """Classify PublicTest; returns what `train.watch` names: its loss, or its error rate.

        One process judges for all: each has batch norms of its own.
        """
        run, state, module = self.run, self.run.state, self.module
        loss, accuracy, recall = by_the_first(module.trainer, self._figures)
        if not np.isfinite(loss):
            raise module.not_finite("PublicTest loss")
        state.epoch += 1
        state.seconds += time.monotonic() - self.started
        self.started = time.monotonic()
        falls = watched(run.config.train.watch, loss, accuracy)
        if falls < state.best_loss:
            state.best_loss, state.best_loss_epoch = falls, state.epoch
        score = selection_score(run.config.train.select, accuracy, recall)
        if score > state.best_score:
            state.best_score, state.best_epoch, state.best_accuracy = score, state.epoch, accuracy
        lr = float(module.trainer.optimizers[0].param_groups[0]["lr"])
        result = EpochResult(state.epoch, lr, train_loss, loss, accuracy, recall, state.seconds)
        by_the_first(module.trainer, lambda: self._write(result))
        if self.on_epoch is not None:
            self.on_epoch(result)
        if run.finished or state.epoch == self.last:
            module.trainer.should_stop = True
        return falls

    def _figures(self) -> tuple[float, float, float]:
        """Return loss, accuracy and macro recall of PublicTest."""
        run = self.run
        logits = predict_logits(self.module.evaluated, run.validation, run.normalise, run.device)
        probabilities, labels = metrics.softmax(logits), run.validation.labels
        return (
            metrics.nll(probabilities, labels),
            metrics.accuracy(probabilities, labels),
            metrics.macro_recall(probabilities, labels),
        )

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Put the run's own state into the checkpoint."""
        checkpoint["affect"] = {"config": self.run.config.model_dump_json(), "state": asdict(self.run.state)}

    def _write(self, result: EpochResult) -> None:
        run, state = self.run, self.run.state
        if state.best_epoch == result.epoch:
            weights = self.module.evaluated.state_dict()
            save_tensors({"network": weights, "epoch": result.epoch}, run.folder / "best.ckpt")
        _log(run.folder / "log.csv", result)
        logger = self.module.logger
        if logger is not None:
            figures = dict(zip(LOG_COLUMNS, astuple(result), strict=True))
            logger.log_metrics({name: figures[name] for name in LOG_COLUMNS[1:]}, result.epoch)
        self.progress(
            f"epoch {result.epoch:3d}  lr {result.lr:.5f}  loss {result.train_loss:.4f}  PublicTest loss "
            f"{result.loss:.4f} accuracy {result.accuracy:.4f} recall {result.macro_recall:.4f} "
            f"(best {state.best_accuracy:.4f} in {state.best_epoch})  {result.seconds:.0f} s"
        )


def _log(path: Path, result: EpochResult) -> None:
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in list(csv.reader(file))[1:] if row and int(row[0]) < result.epoch]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([LOG_COLUMNS, *kept, astuple(result)])
    save_text(text.getvalue(), path)
