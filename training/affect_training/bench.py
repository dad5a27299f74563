"""How fast the training step of `affect-train run` is, next to what it could be at best on this machine.

Three things are timed in turns, in one process: the step as `run` does it (row numbers, gathering, augmentation,
Lightning, logging); a bare loop of the same network, loss and optimiser over batches that lie ready in memory; and
forward and backward alone. Faces are noise: the time does not depend on what they show.
"""

import contextlib
import copy
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from affect.inference.device import Device
from affect.labels import EMOTIONS
from affect.registry import RecipeSpec
from affect_training.config import RunConfig, run_config
from affect_training.data import SIDE, FaceData, Split
from affect_training.module import FaceModule
from affect_training.network import train_mode
from affect_training.optim import build_optimizer
from affect_training.run import Run
from affect_training.targets import Objective, Targets

READY = 4
"""Batches that lie ready for the bare loop."""

WARM_UP = 3
"""Steps before the clock counts; the last of them tells how long a step takes."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second of one recipe, each in its quickest round: what else the machine does only ever slows one down.

    Attributes:
        size: Side of the faces as the network is given them in training.
        run, bare, floor: The step of `run`, the bare loop, forward and backward alone.
        to_bare, to_floor: `run` as a share of the others.
        peak_mb: Most memory while only `run` was at work: of the process, or of the GPU's tensors.
        before_mb: What the process held before the network was built (0 on a GPU).
    """

    recipe: str
    parameters: int
    batch: int
    size: int
    run: float
    bare: float
    floor: float
    to_bare: float
    to_floor: float
    peak_mb: float
    before_mb: float
    rounds: int
    steps: int
    device: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def bench_recipe(
    spec: RecipeSpec,
    tables: Mapping[str, Any],
    device: Device,
    *,
    steps: int = 10,
    rounds: int = 5,
    seconds: float = 5.0,
) -> Speed:
    """Time a recipe.

    Args:
        spec: The recipe; nothing is downloaded, weights are random.
        tables: Changes of its settings, as in a run file.
        device: Where it runs.
        steps: Steps of each of the three a round, at most.
        rounds: How often they take turns, after a warm-up.
        seconds: Fewer steps are made, but at least one, where so many would take longer than this.
    """
    config = _stand_alone(run_config(spec, tables))
    batch = config.train.batch_size
    before = _peak_mb(device)
    clock = _Clock(config, device, steps, rounds, seconds)
    with tempfile.TemporaryDirectory() as folder:
        run = _ClockedRun(Path(folder), spec, config, _noise((WARM_UP + rounds * steps) * batch), device)
        run.clock = clock
        with contextlib.suppress(_Enough):
            run.fit(_quiet)
    run_s, bare_s, floor_s = (min(turn[k] for turn in clock.seconds) for k in range(3))
    images = clock.steps * batch
    return Speed(
        recipe=spec.name,
        parameters=sum(p.numel() for p in run.model.parameters()),
        batch=batch,
        size=clock.size,
        run=images / run_s,
        bare=images / bare_s,
        floor=images / floor_s,
        to_bare=bare_s / run_s,
        to_floor=floor_s / run_s,
        peak_mb=clock.peak_mb,
        before_mb=0.0 if device.is_cuda else before,
        rounds=rounds,
        steps=clock.steps,
        device=device.description,
    )


class _Enough(BaseException):
    """All rounds are timed; ends the run, and is no error that anybody should handle."""


class _Clock(Callback):
    """Stops the run every few steps to let the two others run as many."""

    def __init__(self, config: RunConfig, device: Device, steps: int, rounds: int, budget_s: float) -> None:
        self.config, self.device, self.steps, self.rounds, self.budget_s = config, device, steps, rounds, budget_s
        self.seconds: list[tuple[float, float, float]] = []
        self.peak_mb, self.size = 0.0, 0
        self._rivals: tuple[Callable[[], None], Callable[[], None]] | None = None
        self._started = 0.0
        self._made = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Read the clock when a block is over.

        Raises:
            _Enough: All rounds are timed.
        """
        self._made += 1
        if self._made < (WARM_UP if self._rivals is None else self.steps):
            self._started = self._now() if self._rivals is None else self._started
            return
        spent = self._now() - self._started
        if self._rivals is None:  # `spent` is of the last step alone
            self.peak_mb = _peak_mb(self.device)  # before there is anything else in memory
            self.steps = max(1, min(self.steps, int(self.budget_s / max(spent, 1e-9))))
            self._rivals = self._build(pl_module, batch)
            for rival in self._rivals:
                rival()
        else:
            self.seconds.append((spent, self._time(self._rivals[0]), self._time(self._rivals[1])))
            if len(self.seconds) == self.rounds:
                raise _Enough
        self._made, self._started = 0, self._now()

    def _build(self, module: FaceModule, rows: torch.Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return the bare loop and the floor, over copies of the network."""
        objective = Objective(self.config.train, np.arange(len(EMOTIONS), dtype=np.int64), self.device.torch)
        ready = []
        for _ in range(READY):
            faces, targets = module.prepare(rows)
            ready.append((self.device.layout(faces), targets))
        self.size = int(ready[0][0].shape[-1])
        bare, floor = copy.deepcopy(module.network), copy.deepcopy(module.network)
        for network in (bare, floor):
            train_mode(network)
        optimizer = build_optimizer(bare, self.config.train)

        def backward(network: nn.Module, faces: torch.Tensor, targets: Targets) -> None:
            with self.device.autocast():
                logits = network(faces)
            objective(logits.float(), targets).backward()  # type: ignore[no-untyped-call]

        def bare_loop() -> None:
            for step in range(self.steps):
                optimizer.zero_grad(set_to_none=True)
                backward(bare, *ready[step % READY])
                optimizer.step()

        def floor_loop() -> None:
            for _ in range(self.steps):
                backward(floor, *ready[0])
                floor.zero_grad(set_to_none=True)

        return bare_loop, floor_loop

    def _time(self, loop: Callable[[], None]) -> float:
        started = self._now()
        loop()
        return self._now() - started

    def _now(self) -> float:
        if self.device.is_cuda:
            torch.cuda.synchronize(self.device.torch)
        return time.perf_counter()


class _ClockedRun(Run):
    """A run whose trainer is stopped by the clock."""

    clock: Callback

    def _trainer(self, judge: Any) -> Trainer:
        trainer = Run._trainer(self, judge)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.append(self.clock)
        return trainer


def _stand_alone(config: RunConfig) -> RunConfig:
    """Leave out what happens before the first step (other data, teachers' opinions, balancing), and learn nothing."""
    data = config.data.model_copy(update={"aux": (), "drop_leaks": False, "holdout": 0.0})
    train = config.train.model_copy(update={"balance": "none", "teacher": (), "lr": 1e-9})
    return config.model_copy(update={"init": "none", "data": data, "train": train})


def _noise(count: int) -> FaceData:
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        votes = rng.dirichlet(np.ones(len(EMOTIONS)), size).astype(np.float32)
        return Split(
            rng.integers(0, 256, (size, SIDE, SIDE), np.uint8),
            rng.integers(0, len(EMOTIONS), size).astype(np.int64),
            np.arange(size, dtype=np.int64),
            votes,
        )

    return FaceData({"Training": split(count), "PublicTest": split(8)}, {"Training": 0, "PublicTest": 0}, "noise")


def _peak_mb(device: Device) -> float:
    """Return the most memory so far in MB: of the GPU's tensors, or of the process."""
    if device.is_cuda:
        return torch.cuda.max_memory_allocated(device.torch) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _quiet(_: str) -> None:
    """Report to nobody."""
