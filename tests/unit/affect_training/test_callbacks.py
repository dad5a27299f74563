import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from affect_training.callbacks import EpochBar, EveryEpoch, WholeFile, is_interactive, quiet_lightning
from lightning.pytorch.callbacks import RichProgressBar

from affect.errors import CheckpointError


def end_epoch(last: Path, write: Callable[[Path], None], *, first: bool = True, world: int = 1) -> list[Any]:
    """End an epoch, `write` being how torch writes a checkpoint; returns what was sent to the other processes."""
    files, sent = WholeFile(), []

    def save(path: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch, "save", lambda _, path: write(path))
            if first:
                files.save_checkpoint({}, path)

    def broadcast(answer: Any) -> Any:
        sent.append(answer)
        return answer if first else ([None], "")

    trainer: Any = SimpleNamespace(
        save_checkpoint=save, is_global_zero=first, current_epoch=1, world_size=world,
        strategy=SimpleNamespace(broadcast=broadcast),
    )  # fmt: skip
    EveryEpoch(last, files).on_train_epoch_end(trainer, cast(Any, None))
    return sent


def test_the_checkpoint_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    last.write_bytes(b"old")

    def write(path: Path) -> None:
        assert last.read_bytes() == b"old"
        path.write_bytes(b"new")

    end_epoch(last, write)
    assert last.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [last]


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 512 vs 400")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, error: Exception, world: int
) -> None:
    last = tmp_path / "last.ckpt"
    last.write_bytes(b"old")

    def write(path: Path) -> None:
        path.write_bytes(b"hal")
        raise error

    with pytest.raises(CheckpointError, match=r"last\.ckpt: could not be written.*of the epoch before is intact"):
        end_epoch(last, write, world=world)
    assert last.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [last]


def test_a_full_gpu_is_no_full_disk(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        end_epoch(tmp_path / "last.ckpt", write)


def test_only_the_first_process_moves_it(tmp_path: Path) -> None:
    assert end_epoch(tmp_path / "last.ckpt", lambda path: path.touch(), first=False, world=2) == [([], "")]
    assert list(tmp_path.iterdir()) == []
    assert end_epoch(tmp_path / "last.ckpt", lambda path: path.touch(), world=2) == [([None], "")]
    assert list(tmp_path.iterdir()) == [tmp_path / "last.ckpt"]


def test_a_checkpoint_is_written_where_it_is_told(tmp_path: Path) -> None:
    WholeFile().save_checkpoint({"a": 1}, tmp_path / "x.partial")
    assert torch.load(tmp_path / "x.partial", weights_only=True) == {"a": 1}


def test_the_bar_shows_no_version_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: {"v_num": "", "loss": 1.25})
    assert EpochBar().get_metrics(cast(Any, None), cast(Any, None)) == {"loss": 1.25}


@pytest.mark.parametrize(
    ("terminal", "asked", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_person_watches_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, asked: bool, expected: bool
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: terminal)
    monkeypatch.delenv("NO_PROGRESS", raising=False)
    if asked:
        monkeypatch.setenv("NO_PROGRESS", "1")
    assert is_interactive() is expected


def test_lightning_is_quiet_within_and_as_before_after() -> None:
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with quiet_lightning():
        assert logger.level == logging.ERROR
        warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck.", stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)
    assert logger.level == before
