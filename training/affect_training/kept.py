"""Earlier epochs of a run, kept so that it can go back to them: `epochs/N/` with both checkpoints of that time."""

import shutil
from pathlib import Path

from affect.errors import SettingsError
from affect_training.storage import link_or_copy

FILES = ("best.ckpt", "last.ckpt")


def kept_epoch(folder: Path, epoch: int) -> Path:
    """Return where the checkpoints of an epoch (from 1) lie in the folder of a run, kept or not."""
    return folder / "epochs" / str(epoch)


def keep_epoch(folder: Path, epoch: int) -> None:
    """Keep the run's checkpoints as those of this epoch; they share the disk with the originals where it can link.

    Raises:
        UnwrittenError: The disk is full; the run's own checkpoints are as they were.
    """
    place = kept_epoch(folder, epoch)
    for name in FILES:
        link_or_copy(folder / name, place / name)


def find_kept(folder: Path, epoch: int) -> Path:
    """Return the folder of a kept epoch.

    Raises:
        SettingsError: That epoch is not there.
    """
    place = kept_epoch(folder, epoch)
    if epoch not in kept_epochs(folder):
        kept = ", ".join(map(str, kept_epochs(folder))) or "none; train with --keep N"
        raise SettingsError(f"{folder}: epoch {epoch} was not kept; kept are: {kept}")
    return place


def go_back(folder: Path, epoch: int) -> None:
    """Make a kept epoch the run's last one; later ones are forgotten.

    Raises:
        SettingsError: That epoch is not there.
        UnwrittenError: The disk is full.
    """
    place = find_kept(folder, epoch)
    for name in FILES:
        link_or_copy(place / name, folder / name)
    for later in _numbered(folder):
        if later > epoch:
            shutil.rmtree(kept_epoch(folder, later))


def kept_epochs(folder: Path) -> list[int]:
    """Return which epochs are kept whole in the folder of a run, in order."""
    return [epoch for epoch in _numbered(folder) if all((kept_epoch(folder, epoch) / name).exists() for name in FILES)]


def _numbered(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "epochs").glob("*") if path.name.isdecimal())
