import os
import shutil
from pathlib import Path

import pytest
from affect_training.kept import FILES, find_kept, go_back, keep_epoch
from affect_training.storage import UnwrittenError
from support.runs import differing, log, quiet, weights

from affect.errors import SettingsError

from .conftest import Start


def write(folder: Path, text: str) -> None:
    """Replace both checkpoints, as a run does after an epoch."""
    for name in FILES:
        partial = folder / "partial"
        partial.write_text(f"{name} {text}")
        partial.replace(folder / name)


def read(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in FILES}


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("links", [True, False])
def test_a_run_goes_back_to_an_epoch_it_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", full)
    for epoch in (1, 2, 3):
        write(tmp_path, f"of {epoch}")
        keep_epoch(tmp_path, epoch)
    assert (tmp_path / "last.ckpt").samefile(tmp_path / "epochs/3/last.ckpt") is links
    go_back(tmp_path, 3)  # where it is already
    assert read(tmp_path) == {"best.ckpt of 3", "last.ckpt of 3"}
    go_back(tmp_path, 2)
    assert read(tmp_path) == {"best.ckpt of 2", "last.ckpt of 2"}
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["1", "2"]
    write(tmp_path, "of another 3")
    assert read(tmp_path / "epochs/2") == {"best.ckpt of 2", "last.ckpt of 2"}
    assert not list(tmp_path.rglob("*.partial"))


def test_an_epoch_that_was_not_kept_is_refused_with_those_that_were(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="epoch 2 was not kept; kept are: none; train with --keep N"):
        find_kept(tmp_path, 2)
    write(tmp_path, "")
    for epoch in (4, 10):
        keep_epoch(tmp_path, epoch)
    with pytest.raises(SettingsError, match=r"epoch 2 was not kept; kept are: 4, 10$"):
        go_back(tmp_path, 2)


def test_a_full_disk_leaves_the_checkpoints_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "of 1")
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UnwrittenError, match=r"epochs/1/best\.ckpt: could not be written, is the disk full"):
        keep_epoch(tmp_path, 1)
    assert read(tmp_path) == {"best.ckpt of 1", "last.ckpt of 1"}
    assert not list((tmp_path / "epochs/1").iterdir())


def test_a_run_that_went_back_ends_as_it_did(start: Start) -> None:
    run = start(epochs=5, ema=0.5)
    run.keep = 2
    run.fit(quiet)
    last, best, rows = weights(run), weights(run, "best.ckpt"), log(run)
    assert sorted(path.name for path in (run.folder / "epochs").iterdir()) == ["2", "4"]

    back = start(epochs=5, ema=0.5)
    assert back.resume(epoch=2)
    back.fit(quiet, stop_after=1)
    assert [row["epoch"] for row in log(back)] == ["1", "2", "3"]
    assert not (run.folder / "epochs/4").exists()

    on = start(epochs=5, ema=0.5)
    assert on.resume()
    assert on.state.epoch == 3
    on.fit(quiet)
    assert not differing(weights(on), last)
    assert not differing(weights(on, "best.ckpt"), best)
    assert log(on) == rows

    start(epochs=1, ema=0.5).fit(quiet)  # anew, as with --fresh
    assert not (run.folder / "epochs").exists()
