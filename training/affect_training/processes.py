"""The processes of a distributed run: which one this is, which GPU it has, and what all must agree on.

Launchers number every process they start, also those that train alone beside each other (`srun` over seeds, say):
their numbers count only when a run has several processes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from affect.errors import AffectError, SettingsError
from affect.inference.device import Device
from affect_training.launch import is_numbered_first

T = TypeVar("T")


def is_first_process(processes: int) -> bool:
    """Whether this is the process that writes: the environment tells, which launchers set before there is a trainer.

    Args:
        processes: That train together.
    """
    return processes == 1 or is_numbered_first()


def own_device(name: str, processes: int) -> str:
    """Return the device of this process: of several on GPUs each has the one of its number on its machine.

    It never touches another GPU, where each process would take memory, nor the CPU in place of one that cannot be used:
    the others would wait for it.
    """
    if processes > 1 and (name == "cuda" or (name == "auto" and torch.cuda.device_count())):
        return f"cuda:{os.environ.get('LOCAL_RANK') or os.environ.get('SLURM_LOCALID') or 0}"
    return name


def check_gpus(device: Device, devices: int) -> None:
    """See that there is a GPU for each process of this machine.

    Raises:
        SettingsError: There are fewer.
    """
    if device.is_cuda and devices > (count := torch.cuda.device_count()):
        raise SettingsError(f"--devices {devices}: each needs a GPU of its own, and this process sees {count}")


def cluster(devices: int, nodes: int) -> list[ClusterEnvironment]:
    """Return what tells Lightning the number of this process; nothing when it finds that itself.

    Raises:
        SettingsError: SLURM was asked for other processes.
    """
    if devices * nodes == 1:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        return [LightningEnvironment()]
    # `torchrun` within a job of SLURM numbers the processes itself.
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    try:
        # A job that is sent again resumes by its own checkpoint, not by one of Lightning's.
        slurm = SLURMEnvironment(auto_requeue=False)
        slurm.validate_settings(devices, nodes)
    except (RuntimeError, ValueError) as exc:
        raise SettingsError(f"--devices {devices} --nodes {nodes}: {exc}") from exc
    return [slurm]


def by_the_first(trainer: Trainer, act: Callable[[], T]) -> T:
    """Let the first process act for all, and return to each what came of it; all of them call this together.

    Raises:
        Exception: What `act` raised, in the first process.
        AffectError: It raised in the first process; in the others, which would otherwise wait for it for half an hour.
    """
    if trainer.world_size == 1:
        return act()
    done: list[T] = []
    failed: Exception | None = None
    if trainer.is_global_zero:
        try:
            done.append(act())
        except Exception as exc:
            failed = exc
    try:
        done, said = trainer.strategy.broadcast((done, f"{type(failed).__name__}: {failed}" if failed else ""))
    except Exception:
        if failed is None:
            raise
    if failed is not None:  # even when a broken GPU did not let it tell the others
        raise failed
    if said:
        raise AffectError(f"the first process failed, so this one ends too: {said}")
    return done[0]


class OwnEnd(Callback):
    """Lets the first process end by itself, with its own reason, when all fail.

    Lightning watches the processes that it has started and kills the first one as soon as another has ended with an
    error: where all fail together, in the middle of what it says and writes of that.
    """

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Take the others off the watch; they were told, or found out themselves."""
        watched = getattr(trainer.strategy.launcher, "procs", None)
        if watched and isinstance(exception, AffectError):
            self.others = list(watched)  # a Popen must not be collected before its process has ended
            watched.clear()


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
