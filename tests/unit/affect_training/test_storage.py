import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from affect_training.storage import read_checkpoint, save_tensors, save_text

from affect.errors import CheckpointError


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    save_tensors({"network": {"w": torch.arange(3.0)}}, path)
    assert read_checkpoint(path, "network")["network"]["w"].tolist() == [0, 1, 2]
    save_text("one\n", tmp_path / "run.json")
    save_text("two\n", tmp_path / "run.json")
    assert (tmp_path / "run.json").read_bytes() == b"two\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "run.json"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, text = tmp_path / "best.ckpt", tmp_path / "run.json"
    save_tensors({"network": {}}, tensors)
    save_text("one", text)
    before = tensors.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(CheckpointError, match=r"best\.ckpt: could not be written, is the disk full\?"):
            save_tensors({"network": {"w": torch.zeros(3)}}, tensors)
        with pytest.raises(CheckpointError, match=r"run\.json: could not be written, is the disk full\?"):
            save_text("two", text)
    assert (tensors.read_bytes(), text.read_text()) == (before, "one")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "run.json"]


@pytest.mark.parametrize("content", [{"other": {}}, {"network": torch.zeros(1)}, [1], {}], ids=str)
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=r"x\.ckpt: not a checkpoint of affect-train; start anew with --fresh"):
        read_checkpoint(tmp_path / "x.ckpt", "network")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="corrupt or not a checkpoint"):
        read_checkpoint(tmp_path, "network")
