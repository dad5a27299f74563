"""The files of a run: written whole or not at all, and read without ever running code out of them."""

import fcntl
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from affect.errors import CheckpointError, SettingsError

# After such an error a process can compute nothing more on its GPU; older versions of torch have no name for it.
BROKEN_GPU = tuple(getattr(torch, name) for name in ("AcceleratorError",) if hasattr(torch, name))
# Errors of a GPU, met while its tensors are fetched: no fault of the disk.
DEVICE_ERRORS = (torch.OutOfMemoryError, *BROKEN_GPU)


class UnwrittenError(CheckpointError):
    """A file of a run could not be written; what was there before is intact."""


def read_checkpoint(path: Path, part: str) -> dict[str, Any]:
    """Read a run's checkpoint; only tensors and plain values are ever unpickled.

    Args:
        path: `last.ckpt` or `best.ckpt` of a run.
        part: What it must hold: `affect` (where the run stands) or `network` (weights).

    Raises:
        CheckpointError: It is missing, cut short, or no such checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # refused in our own words
            saved = torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()  # which torch does not ask
        if damaged is not None:
            raise zipfile.BadZipFile(f"the bytes of {damaged} have changed")
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path}: no such checkpoint; train first") from exc
    except Exception as exc:  # torch says broken in many ways: pickle, zip, key, index and type errors among them
        why = "it holds code or foreign classes" if isinstance(exc, pickle.UnpicklingError) else str(exc)
        raise CheckpointError(f"{path}: corrupt or not a checkpoint ({why}); start anew with --fresh") from exc
    if not isinstance(saved, dict) or not isinstance(saved.get(part), dict):
        raise CheckpointError(f"{path}: not a checkpoint of affect-train; start anew with --fresh")
    return saved


def save_tensors(content: dict[str, Any], path: Path) -> None:
    """Write tensors by way of a partial file.

    Raises:
        UnwrittenError: It could not be written; what was there before is intact.
    """
    partial = path.with_suffix(".partial")
    try:
        torch.save(content, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as exc:
        partial.unlink(missing_ok=True)
        if isinstance(exc, DEVICE_ERRORS):
            raise
        raise _unwritten(path, exc) from exc


def save_text(text: str, path: Path) -> None:
    """Write text by way of a partial file.

    Raises:
        UnwrittenError: It could not be written; what was there before is intact.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise _unwritten(path, exc) from exc


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at a second place, as a link where the file system can; neither may be written into, only replaced.

    Raises:
        UnwrittenError: It could not be written; what was there before is intact.
    """
    if target.exists() and target.samefile(source):
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise _unwritten(target, exc) from exc


def _unwritten(path: Path, exc: Exception) -> UnwrittenError:
    return UnwrittenError(f"{path}: could not be written, is the disk full? ({exc}); what was there before is intact")


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock, made when missing; the system gives it back when the process ends, however it ends.

    Args:
        folder: Where the file `.lock` goes.
        what: What the folder holds and what to do instead: "study; choose another --study".

    Raises:
        SettingsError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"{folder}: another process works on this {what}") from None
        yield
