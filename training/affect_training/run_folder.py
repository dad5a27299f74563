"""The folder of a run: what may be begun in it, and what a new run removes."""

import shutil
from pathlib import Path

from affect.errors import CheckpointError, SettingsError
from affect_training.kept import kept_epochs
from affect_training.run_record import RUN_JSON
from affect_training.storage import read_checkpoint

OF_A_RUN = ("last.ckpt", "best.ckpt", "log.csv", "nan-batch.json", "tensorboard", "epochs")
"""What a run leaves in its folder beside its record."""


def check_not_lost(folder: Path) -> None:
    """See that a folder without a last checkpoint is not that of a run which has lost it.

    A run killed while it saved its first epoch may begin again: one epoch is logged at most.

    Raises:
        SettingsError: It is; beginning again would remove what is left.
    """
    if not (folder / RUN_JSON).exists():
        return
    if kept := kept_epochs(folder):
        left = f"epochs are kept: {', '.join(map(str, kept))}; go on from one by --from-epoch"
    elif (folder / "best.ckpt").exists() and (epochs := _logged(folder)) > 1:
        left = f"best.ckpt of {epochs} epochs is there, which `export` takes; choose another --out"
    else:
        return
    raise SettingsError(f"{folder}: last.ckpt is lost, while {left}, or remove all by --fresh")


def check_best(path: Path, epoch: int) -> None:
    """See that the weights of the best epoch are there before more is trained: no later epoch may be better.

    Args:
        path: `best.ckpt`.
        epoch: The best one, by the checkpoint that the run goes on from.

    Raises:
        CheckpointError: They are gone, corrupt, or those of an earlier epoch.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: gone, with the weights of the best epoch, {epoch}; start anew with --fresh")
    if (there := int(read_checkpoint(path, "network").get("epoch", epoch))) < epoch:
        raise CheckpointError(f"{path}: of epoch {there}, while {epoch} was the best; start anew with --fresh")


def check_free(folder: Path) -> None:
    """See that a new run may remove what is in its folder.

    Raises:
        SettingsError: Files of a run's names are there, but no record of a run: they may be somebody's.
    """
    if (folder / RUN_JSON).exists():
        return
    if there := ", ".join(name for name in OF_A_RUN if (folder / name).exists()):
        raise SettingsError(
            f"{folder} has {there}, but no {RUN_JSON}: not of a run; choose another --out, or remove them by hand"
        )


def empty_folder(folder: Path) -> None:
    """Remove what an earlier run left."""
    for path in (folder / name for name in OF_A_RUN):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _logged(folder: Path) -> int:
    """Return how many epochs `log.csv` has, below its header."""
    try:
        return max(len((folder / "log.csv").read_text(encoding="utf-8").splitlines()) - 1, 0)
    except OSError:
        return 0
