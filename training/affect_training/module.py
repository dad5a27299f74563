"""The training step as a LightningModule: gather, augment, mix, forward, loss; and what follows an epoch."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from affect.errors import AffectError
from affect.inference.device import Device
from affect_training.augment import Augment, mix
from affect_training.average import WeightAverage
from affect_training.config import RunConfig
from affect_training.data import Split
from affect_training.loader import BatchIndices, epoch_generator
from affect_training.network import train_mode
from affect_training.optim import build_optimizer, build_plateau, build_step_schedule
from affect_training.provenance import Normalisation
from affect_training.targets import Objective, Targets

LOG_STEPS = 50
"""Steps from one training loss in TensorBoard, and on the progress bar, to the next."""

RAMP_START = 0.3
"""Strength of the augmentation in the first epoch of a ramp."""


def on_its_way(value: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start to fetch a number from where it is computed; what is returned waits for it.

    On a GPU it waits for the number alone, not for the work that was given to the GPU after it.
    """
    if not value.is_cuda:
        return lambda: value
    here = torch.empty((), dtype=value.dtype, pin_memory=True)
    here.copy_(value, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(value.device))

    def wait() -> torch.Tensor:
        arrived.synchronize()
        return here

    return wait


class LossNotFiniteError(AffectError):
    """The loss became NaN or infinite; carries where that was seen: the step before may have done it.

    Attributes:
        epoch, step: Counted from 0.
        rows: Row numbers of the batch, over all processes, within the training split.
    """

    def __init__(self, epoch: int, step: int, rows: list[int], what: str = "loss") -> None:
        super().__init__(f"the {what} of epoch {epoch}, step {step} is not finite; lower train.lr")
        self.epoch, self.step, self.rows = epoch, step, rows


class FaceModule(LightningModule):
    """Trains a network on faces that lie in memory.

    Args:
        network: Returns logits [N, 7], or [N, 2, 7] in training mode.
        config: The run.
        split: The training faces.
        targets: Of these faces.
        normalise: From pixels of 0-1 to the network's input.
        device: Precision and layout.
        after_epoch: Called with the mean training loss when an epoch is over, before the checkpoint is written;
            returns what the plateau schedule looks at, lower being better.
    """

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        split: Split,
        targets: Targets,
        normalise: Normalisation,
        device: Device,
        after_epoch: Callable[[float], float],
    ) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.average: WeightAverage | None = None
        if config.train.ema is not None:
            self.average = WeightAverage(network, config.train.ema).requires_grad_(requires_grad=False)
        self._images = torch.from_numpy(split.images)
        self._targets, self._normalise, self._where, self._after_epoch = targets, normalise, device, after_epoch
        self._objective = Objective(config.train, split.labels, device.torch)
        self._plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._total = torch.zeros(())
        self._previous: tuple[Callable[[], torch.Tensor], int] | None = None
        self._generator = torch.Generator()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is judged and exported: the weight average where there is one."""
        if self.average is None:
            return self.network
        module = self.average.module
        assert isinstance(module, nn.Module)
        return module

    def train_dataloader(self) -> BatchIndices:
        """Return the batches of row numbers."""
        config = self.config.train
        return BatchIndices(
            len(self._images), config.batch_size, config.seed, lambda: self.current_epoch,
            self.global_rank, self.trainer.world_size,
        )  # fmt: skip

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the row numbers where they are: the rows lie on the CPU, and go over as pixels."""
        return batch

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule."""
        config = self.config.train
        optimizer = build_optimizer(self.network, config)
        self._plateau = build_plateau(optimizer, config)
        if self._plateau is not None and self._plateau_state is not None:
            self._plateau.load_state_dict(self._plateau_state)
        schedule = build_step_schedule(optimizer, config, len(self.train_dataloader()))
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Seed everything random of this epoch, so that a resumed run continues as an unbroken one."""
        seed, epoch = self.config.train.seed, self.current_epoch
        torch.manual_seed((seed * 100_003 + epoch + self.global_rank * 2**40) % 2**63)  # dropout's dice
        self._generator = epoch_generator(seed, epoch, "augment", self.global_rank)
        self._augment = Augment(self.config.augment, self._generator)
        train_mode(self.network)
        self._total, self._previous = torch.zeros((), device=self._where.torch), None

    def on_train_batch_start(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Keep the row numbers: to several processes on GPUs the step hands them over on the GPU."""
        self._rows = batch

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Return the loss of the faces at these rows."""
        faces, targets = self.prepare(self._rows)
        with self._where.autocast():
            logits = self.network(self._where.layout(faces))
        loss = self._objective(logits.float(), targets)
        # Looked at a step late: on a GPU the value is there by then, and the step before is not waited for.
        self._check_finite()
        self._previous = (on_its_way(self._over_all(loss.detach())), batch_idx)
        self._total += loss.detach()
        if (self.trainer.global_step + 1) % LOG_STEPS == 0:  # Lightning's log takes a millisecond
            self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def prepare(self, rows: torch.Tensor) -> tuple[torch.Tensor, Targets]:
        """Gather the rows' faces, augmented and normalised [B, 1, S, S], and their targets."""
        config, epoch = self.config.augment, self.current_epoch
        calm = epoch >= self.config.train.epochs - config.calm_epochs
        ramp = min(1.0, epoch / config.ramp_epochs) if config.ramp_epochs else 1.0
        pixels = self._images[rows].to(self._where.torch, non_blocking=True)
        faces = self._augment(
            pixels.float().unsqueeze(1) / 255, strength=RAMP_START + (1 - RAMP_START) * ramp, erase=not calm
        )
        targets = self._targets.take(rows, self._where.torch)
        if (config.mixup or config.cutmix) and not calm:
            faces, partner, share = mix(faces, config, self._generator)
            targets = targets.mix(partner, share)
        return self._normalise.scale(faces), targets

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient, when configured."""
        if self.config.train.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.train.clip_norm)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the weight average."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        """Judge the network and let the plateau schedule act."""
        self._check_finite()
        steps = len(self.train_dataloader())
        total = self._total / steps
        if self.trainer.world_size > 1:
            total = self.trainer.strategy.reduce(total, reduce_op="mean")
        loss = self._after_epoch(float(total))
        if self._plateau is not None:
            self._plateau.step(loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau schedule, which Lightning does not see."""
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the plateau schedule back; it may not be built yet."""
        self._plateau_state = checkpoint.get("plateau")
        if self._plateau is not None and self._plateau_state is not None:
            self._plateau.load_state_dict(self._plateau_state)

    def _check_finite(self) -> None:
        """Raise when the last step's loss was not finite: in all processes at once, or the others would wait."""
        if self._previous is None:
            return
        if not bool(torch.isfinite(self._previous[0]())):
            raise self.not_finite("loss")

    def _over_all(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the sum of the loss over all processes, which take part in it together."""
        if self.trainer.world_size == 1:
            return loss
        return self.trainer.strategy.reduce(loss.clone(), reduce_op="sum")

    def not_finite(self, what: str) -> LossNotFiniteError:
        """Return the error that names the last batch."""
        assert self._previous is not None
        step = self._previous[1]
        rows = next(islice(self.train_dataloader().whole(), step, None))
        return LossNotFiniteError(self.current_epoch, step, rows.tolist(), what)
