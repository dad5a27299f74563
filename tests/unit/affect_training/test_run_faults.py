import errno
import json
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training import run
from affect_training.evaluation import metrics
from affect_training.module import FaceModule, LossNotFiniteError
from affect_training.storage import alone
from lightning.pytorch.loggers import TensorBoardLogger
from support.runs import differing, log, quiet, weights
from support.tiny import tiny_faces

from affect.errors import CheckpointError, MediaError, SettingsError

from .conftest import Start


class Code:
    def __reduce__(self) -> Any:
        return os.abort, ()


@pytest.mark.parametrize("file", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize(
    "damage", ["cut", "empty", "garbage", "text", "hole", "flipped", "pickle", "code", "list", "other"]
)
def test_a_damaged_checkpoint_is_refused_by_name(start: Start, file: str, damage: str) -> None:
    one = start()
    one.fit(quiet, stop_after=1)
    path = one.folder / file
    whole = path.read_bytes()
    if damage == "code":
        torch.save({"affect": Code(), "network": Code()}, path)
    elif damage == "list":
        torch.save([torch.zeros(2)], path)
    elif damage == "other":
        path.write_bytes((one.folder / {"last.ckpt": "best.ckpt", "best.ckpt": "last.ckpt"}[file]).read_bytes())
    else:
        path.write_bytes(
            {
                "cut": whole[: len(whole) // 2],
                "empty": b"",
                "garbage": np.random.default_rng(0).bytes(len(whole)),
                "text": b"epoch,lr\n1,0.1\n",
                "hole": whole[:300] + bytes(600) + whole[900:],
                "flipped": whole[: len(whole) // 2]
                + bytes([whole[len(whole) // 2] ^ 1])
                + whole[len(whole) // 2 + 1 :],
                "pickle": pickle.dumps(Code()),
            }[damage]
        )
    again = start()
    with pytest.raises(CheckpointError) as caught:
        again.resume() if file == "last.ckpt" else again.best()
    assert str(path) in caught.value.message
    assert "--fresh" in caught.value.message


@pytest.mark.parametrize(
    ("damage", "said"), [("gone", "gone, with the weights"), ("cut", "corrupt"), ("old", "of epoch 0")]
)
def test_lost_best_weights_are_told_before_more_is_trained(start: Start, damage: str, said: str) -> None:
    one = start()
    one.fit(quiet, stop_after=1)
    path = one.folder / "best.ckpt"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        torch.save({**torch.load(path, weights_only=True), "epoch": 0}, path)
    with pytest.raises(CheckpointError, match=rf"best\.ckpt: {said}.*--fresh"):
        start().resume()


@pytest.mark.parametrize("split", ["Training", "PublicTest"])
def test_a_split_of_blank_images_alone_is_refused(start: Start, split: str) -> None:
    faces = tiny_faces()
    none = replace(faces, splits={**faces.splits, split: faces.split(split).take([])}, blank={split: 21})
    with pytest.raises(MediaError, match=f"{split} has no faces: 21 blank images"):
        start(faces=none)


def test_weights_of_another_network_are_refused_by_name(start: Start) -> None:
    one = start(tables={"model": {"width": 2}})
    one.fit(quiet, stop_after=1)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: does not fit support\.tiny:Tiny \(.*size mismatch"):
        start().best()
    (one.folder / "last.ckpt").rename(one.folder / "narrow.ckpt")
    start().fit(quiet, stop_after=1)
    saved = torch.load(one.folder / "last.ckpt", weights_only=True)
    saved["state_dict"] = torch.load(one.folder / "narrow.ckpt", weights_only=True)["state_dict"]
    torch.save(saved, one.folder / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: does not fit"):
        start().resume()


def test_there_is_no_best_network_before_the_first_epoch(start: Start) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint; train first"):
        start().best()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond that: writing fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_space_for(stem: str) -> Iterator[None]:
    """Refuse to write files whose name begins like that."""
    save, write = torch.save, Path.write_text

    def check(path: Path) -> None:
        if path.name.startswith(stem):
            path.write_bytes(b"a beginning")
            raise OSError(errno.ENOSPC, "No space left on device")

    def checked_save(content: Any, path: Path) -> None:
        check(path)
        save(content, path)

    def checked_write(path: Path, text: str, **of: Any) -> int:
        check(path)
        return write(path, text, **of)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "save", checked_save)
        patched.setattr(Path, "write_text", checked_write)
        yield


@pytest.mark.parametrize("full", ["last", "best", "log", "run", 20_000, 40_000])
def test_on_a_full_disk_the_last_good_checkpoint_stays(start: Start, full: str | int) -> None:
    broken = start(ema=0.5)
    broken.fit(quiet, stop_after=1)
    good = {name: (broken.folder / name).read_bytes() for name in ("last.ckpt", "best.ckpt", "log.csv", "run.json")}
    assert len(good["best.ckpt"]) < 20_000 < 40_000 < len(good["last.ckpt"])
    again = start(ema=0.5)
    again.resume()
    again.state.best_score = 0 if full == "best" else 2.0  # the second epoch is the best one, or not
    disk = largest_file(full) if isinstance(full, int) else no_space_for(full)
    with disk, pytest.raises(CheckpointError, match="could not be written, is the disk full"):
        again.fit(quiet)
    kept = ["last.ckpt", "best.ckpt", *(["log.csv"] if full in ("log", "run", "best") else []), "run.json"]
    assert {name for name in kept if (broken.folder / name).read_bytes() != good[name]} == set()
    assert not list(broken.folder.glob("*.partial"))
    with_space = start(ema=0.5)
    assert with_space.resume()
    with_space.fit(quiet)
    whole = start("whole", ema=0.5)
    whole.fit(quiet)
    assert not differing(weights(with_space), weights(whole))
    assert log(with_space) == log(whole)


def test_a_full_disk_under_tensorboard_is_one_of_our_errors(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TensorBoardLogger, "log_metrics", full)
    with pytest.raises(CheckpointError, match="No space left on device; what was saved before is intact"):
        start().fit(quiet)


def test_a_folder_that_cannot_be_made_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/run"):
        start("file/run").fit(quiet)


@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_its_batch(
    start: Start, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    one = start()
    one.fit(quiet, stop_after=1)
    good = (one.folder / "last.ckpt").read_bytes()
    prepare = FaceModule.prepare
    seen: list[list[int]] = []

    def poisoned(self: FaceModule, rows: torch.Tensor) -> Any:
        faces, targets = prepare(self, rows)
        seen.append(rows.tolist())
        return faces * (float("nan") if len(seen) == step + 1 else 1.0), targets

    monkeypatch.setattr(FaceModule, "prepare", poisoned)
    one = start()
    one.resume()
    one.training.rows[:] += 1000
    with pytest.raises(LossNotFiniteError, match=f"the loss of epoch 1, step {step} is not finite; lower train.lr"):
        one.fit(quiet)
    saved = json.loads((one.folder / "nan-batch.json").read_text("utf-8"))
    assert saved == {
        "epoch": 1,
        "step": step,
        "indices": seen[step],
        "rows_of_the_data": [row + 1000 for row in seen[step]],
    }
    assert (one.folder / "last.ckpt").read_bytes() == good


def test_a_public_test_loss_that_is_not_finite_ends_the_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "nll", lambda *_: float("nan"))
    one = start()
    with pytest.raises(LossNotFiniteError, match=r"the PublicTest loss of epoch 0, step 3 is not finite; lower train"):
        one.fit(quiet)
    saved = json.loads((one.folder / "nan-batch.json").read_text("utf-8"))
    assert (saved["step"], len(saved["indices"])) == (3, 16)
    assert not (one.folder / "last.ckpt").exists()


def test_an_exception_after_an_epoch_ends_the_run_before_its_checkpoint(start: Start) -> None:
    def second(result: run.EpochResult) -> None:
        if result.epoch == 2:
            raise KeyError

    one = start()
    with pytest.raises(KeyError):
        one.fit(quiet, on_epoch=second)
    again = start()
    again.resume()
    assert again.state.epoch == 1


def test_two_processes_do_not_share_a_folder(start: Start) -> None:
    one = start()
    with alone(one.folder, "run"), pytest.raises(SettingsError, match="another process works on this run"):
        one.fit(quiet)
    one.fit(quiet)
    assert one.finished
