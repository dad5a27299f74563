"""The training loop: one visible loop, all data in memory, a checkpoint every epoch, resumed exactly.

Everything random in an epoch (order, mirroring, dropout) follows from (seed, epoch), so a run that was killed and
resumed ends with the weights of an unbroken one. Selection looks at PublicTest only.
"""

import csv
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from affect.errors import AffectError
from affect.inference.device import Device
from affect_training import metrics
from affect_training.config import RunConfig, TrainConfig
from affect_training.data import Fer2013, Split

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Feature-wise centre and deviation of the training images, on the 0-1 scale."""

    mean: float
    std: float

    @classmethod
    def of(cls, split: Split) -> "Normalisation":
        """Measure a split: one mean and one deviation a channel, as Keras does."""
        pixels = split.images.astype(np.float32) / 255
        return cls(float(pixels.mean()), float(pixels.std()))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 [N, 48, 48] into float32 [N, 1, 48, 48]."""
        return ((images.float() / 255 - self.mean) / self.std).unsqueeze(1)


@dataclass(slots=True)
class State:
    """Where a run stands; saved after every epoch."""

    epoch: int = 0
    best_loss: float = float("inf")
    best_loss_epoch: int = 0
    last_cut_epoch: int = 0
    best_accuracy: float = -1.0
    best_accuracy_epoch: int = 0
    seconds: float = 0.0


def build_model(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Import `module:Class` and build it."""
    module, _, name = architecture.partition(":")
    model = getattr(import_module(module), name)(**arguments)
    assert isinstance(model, nn.Module)
    return model


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimiser; kernels decay, biases and norms do not."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": 2 * config.l2_kernels},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def predict_logits(
    model: nn.Module, split: Split, normalise: Normalisation, device: Device, batch_size: int = 512
) -> metrics.Floats:
    """Return logits [N, 7] of a split, single view."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            images = torch.from_numpy(split.images[start : start + batch_size]).to(device.torch)
            with device.autocast():
                parts.append(model(device.layout(normalise(images))).float().cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


class Run:
    """One training run in a folder: `checkpoint.pt`, `best.pt`, `log.csv`, `run.json`."""

    def __init__(self, folder: Path, architecture: str, config: RunConfig, data: Fer2013, device: Device) -> None:
        self.folder, self.architecture, self.config, self.data, self.device = (
            folder, architecture, config, data, device,
        )  # fmt: skip
        torch.manual_seed(config.train.seed)
        self.training, self.validation = data.split("Training"), data.split("PublicTest")
        self.normalise = Normalisation.of(self.training)
        self.model = device.place(build_model(architecture, config.model))
        self.optimizer = build_optimizer(self.model, config.train)
        self.state = State()

    def resume(self) -> bool:
        """Load the last checkpoint; False when there is none.

        Raises:
            AffectError: The checkpoint is of a run with other settings.
        """
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        saved = torch.load(path, map_location=self.device.torch, weights_only=True)
        if saved["config"] != self.config.model_dump_json():
            raise AffectError(f"{path} belongs to a run with other settings; choose another --out folder")
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = State(**saved["state"])
        return True

    def fit(self, progress: Progress, stop_after: int | None = None) -> None:
        """Train until early stopping or the last epoch; `stop_after` ends this call after that many epochs."""
        config = self.config.train
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_provenance()
        done = 0
        while not self.finished and (stop_after is None or done < stop_after):
            started = time.monotonic()
            train_loss = self._epoch()
            probabilities = metrics.softmax(predict_logits(self.model, self.validation, self.normalise, self.device))
            loss = metrics.nll(probabilities, self.validation.labels)
            accuracy = metrics.accuracy(probabilities, self.validation.labels)
            if not np.isfinite(train_loss + loss):
                raise AffectError(f"the loss is {train_loss} / {loss} after epoch {self.state.epoch}; lower the lr")
            self._judge(loss, accuracy, config)
            self.state.seconds += time.monotonic() - started
            lr = self.optimizer.param_groups[0]["lr"]
            if self.state.best_accuracy_epoch == self.state.epoch:
                self._save(self.folder / "best.pt")
            # Last, so that whatever stops us in between is done again by the resumed run.
            self._save(self.folder / "checkpoint.pt")
            row = [self.state.epoch, lr, train_loss, loss, accuracy, self.state.seconds]
            self._log(row)
            progress(
                f"epoch {row[0]:3d}  lr {lr:.5f}  loss {train_loss:.4f}  PublicTest loss {loss:.4f} "
                f"accuracy {accuracy:.4f} (best {self.state.best_accuracy:.4f})  {self.state.seconds:.0f} s"
            )
            done += 1

    @property
    def finished(self) -> bool:
        """Whether early stopping or the last epoch has come."""
        waited = self.state.epoch - self.state.best_loss_epoch
        return self.state.epoch >= self.config.train.epochs or waited >= self.config.train.stop_epochs

    def best(self) -> nn.Module:
        """Return the network with the weights of the best PublicTest accuracy."""
        saved = torch.load(self.folder / "best.pt", map_location=self.device.torch, weights_only=True)
        self.model.load_state_dict(saved["model"])
        return self.model

    def _epoch(self) -> float:
        config = self.config.train
        self.model.train()
        # One generator a purpose and epoch: the order and mirroring of epoch k do not depend on how we got there.
        generator = torch.Generator().manual_seed(config.seed * 100_003 + self.state.epoch)
        torch.manual_seed(config.seed * 100_003 + self.state.epoch)
        images = torch.from_numpy(self.training.images)
        labels = torch.from_numpy(self.training.labels)
        order = torch.randperm(len(labels), generator=generator)
        total = 0.0
        for index in torch.split(order, config.batch_size):
            batch = images[index].to(self.device.torch, non_blocking=True)
            target = labels[index].to(self.device.torch, non_blocking=True)
            faces = self.normalise(batch)
            if config.mirror:
                flip = torch.rand(len(index), generator=generator).to(self.device.torch) < 0.5
                faces = torch.where(flip[:, None, None, None], faces.flip(3), faces)
            with self.device.autocast():
                logits = self.model(self.device.layout(faces))
            loss = functional.cross_entropy(logits.float(), target)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += float(loss.detach()) * len(index)
        self.state.epoch += 1
        return total / len(labels)

    def _judge(self, loss: float, accuracy: float, config: TrainConfig) -> None:
        state = self.state
        if loss < state.best_loss:
            state.best_loss, state.best_loss_epoch = loss, state.epoch
        elif state.epoch - max(state.best_loss_epoch, state.last_cut_epoch) >= config.plateau_epochs:
            state.last_cut_epoch = state.epoch
            for group in self.optimizer.param_groups:
                group["lr"] *= config.plateau_factor
        if accuracy > state.best_accuracy:
            state.best_accuracy, state.best_accuracy_epoch = accuracy, state.epoch

    def _save(self, path: Path) -> None:
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "config": self.config.model_dump_json(),
                "state": asdict(self.state),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            partial,
        )
        partial.replace(path)

    def _log(self, row: list[Any]) -> None:
        path = self.folder / "log.csv"
        kept: list[list[str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [r for r in list(csv.reader(file))[1:] if int(r[0]) < row[0]]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "lr", "train_loss", "public_loss", "public_accuracy", "seconds"])
            writer.writerows([*kept, row])

    def _write_provenance(self) -> None:
        facts = {
            "architecture": self.architecture,
            "config": self.config.model_dump(mode="json"),
            "data_sha256": self.data.sha256,
            "faces": {name: len(split) for name, split in self.data.splits.items()},
            "blank_dropped": self.data.blank,
            "packages": {name: version(name) for name in ("torch", "numpy")},
            "git_commit": git_commit(),
            "device": self.device.description,
        }
        (self.folder / "run.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def git_commit() -> str | None:
    """Return the commit of the checkout this runs from, with `+` when it has changes; None outside git."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
