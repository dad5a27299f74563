import csv
import errno
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from affect_training import module, run, teachers
from affect_training.config import run_config
from affect_training.data import FaceData, Split
from affect_training.evaluation import metrics
from affect_training.module import FaceModule, LossNotFiniteError
from affect_training.predict import predict_logits
from affect_training.run import Run, open_run
from affect_training.storage import alone, read_checkpoint, save_tensors
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save_file
from support.tiny import TINY, TINY_HEADS, TinyHeads, install_tiny, tiny_faces, tiny_split, write_fer2013
from torch import nn

from affect.errors import CheckpointError, MediaError, SettingsError
from affect.inference.device import Device
from affect.labels import EMOTIONS

from .conftest import SPEC, Start

Weights = dict[str, torch.Tensor]
TESTS = Path(__file__).parents[2]


def quiet(_: str) -> None:
    """Report to nobody."""


def log(of: Run) -> list[dict[str, str]]:
    with (of.folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(of: Run, file: str | None = None) -> Weights:
    if file is None:
        return {name: tensor.clone() for name, tensor in of.model.state_dict().items()}
    saved: Weights = torch.load(of.folder / file, weights_only=True)["network"]
    return saved


def differing(one: Weights, other: Weights) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def facts(of: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((of.folder / "run.json").read_text("utf-8"))
    return found


# Killed and gone on with

KILLED: dict[str, dict[str, Any]] = {
    "plain": {"at": "step 6", "train": {}},
    "while saving": {"at": "save 1", "train": {"l2_kernels": 1e-3}},
    "before any checkpoint": {"at": "save 0", "train": {}},
    "bfloat16": {"at": "step 6", "precision": "bfloat16", "train": {}},
    "average": {"at": "step 6", "train": {"ema": 0.9, "schedule": "cosine", "warmup": 0.2}},
    "plateau": {
        "at": "step 14",
        "train": {"epochs": 5, "lr": 0.3, "schedule": "plateau", "plateau_epochs": 1, "plateau_factor": 0.3},
    },
    "onecycle": {
        "at": "step 6",
        "train": {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "onecycle", "clip_norm": 1.0},
        "augment": {"mixup": 0.4, "cutmix": 1.0, "mirror": True, "rotation_deg": 10, "erasing": 0.5, "noise": 0.1},
    },
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose processes were killed; they are started by one, as importing takes the most time."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, TESTS / "support/killed.py", folder, str(torch.get_num_threads()), json.dumps(KILLED)],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(KILLED, signal.SIGKILL), done.stderr
    return folder


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(name: str, killed: Path, start: Start) -> None:
    tables = {key: value for key, value in KILLED[name].items() if key not in ("at", "precision")}
    device = Device("cpu", KILLED[name].get("precision", "float32"))
    broken = Run(killed / name, SPEC, run_config(SPEC, tables), tiny_faces(), device)
    torch.rand(17)  # what happens between does not matter
    assert broken.resume() is (name != "before any checkpoint")
    begun = broken.state.epoch
    assert begun == {"plateau": 3, "before any checkpoint": 0}.get(name, 1)
    broken.fit(quiet)
    whole = start(tables=tables)
    whole.device = device
    whole.fit(quiet)
    assert not differing(weights(broken), weights(whole))
    assert not differing(weights(broken, "best.ckpt"), weights(whole, "best.ckpt"))
    assert log(broken) == log(whole)
    assert [int(row["epoch"]) for row in log(broken)] == list(range(1, whole.config.train.epochs + 1))
    if name == "plateau":
        assert len({row["lr"] for row in log(whole)}) > 1
    if name == "average":
        assert differing(weights(whole), weights(whole, "best.ckpt"))
    assert not list(broken.folder.glob("*.partial"))


def test_a_run_goes_on_from_any_epoch(start: Start) -> None:
    whole = start("whole", ema=0.5)
    whole.fit(quiet)
    broken = start("broken", ema=0.5)
    broken.fit(quiet, stop_after=1)
    assert (broken.state.epoch, broken.finished) == (1, False)
    broken.fit(quiet, stop_after=1)  # the same object ...
    again = start("broken", ema=0.5)  # ... and another
    assert again.resume()
    assert not differing(weights(again), weights(broken))
    again.fit(quiet)
    assert again.finished
    assert not differing(weights(again), weights(whole))
    assert log(again) == log(whole)


def test_the_seed_decides(start: Start) -> None:
    runs = [start(str(k), epochs=1, seed=seed) for k, seed in enumerate((1, 1, 2, 2**32 - 1))]
    for one in runs:
        one.fit(quiet)
    assert not differing(weights(runs[0]), weights(runs[1]))
    assert "out.weight" in differing(weights(runs[0]), weights(runs[2]))
    assert "out.weight" in differing(weights(runs[2]), weights(runs[3]))


def test_without_a_checkpoint_there_is_nothing_to_resume(start: Start) -> None:
    assert start().resume() is False


@pytest.mark.parametrize(
    "change", [{"epochs": 2}, {"seed": 6}, {"lr": 0.02}, {"tables": {"augment": {"mirror": True}}}], ids=str
)
def test_a_checkpoint_of_other_settings_is_refused(start: Start, change: dict[str, Any]) -> None:
    start(epochs=1).fit(quiet)
    with pytest.raises(SettingsError, match="belongs to a run with other settings; choose another --out folder"):
        start(**{"epochs": 1, **change}).resume()


def test_settings_that_came_later_do_not_stop_an_older_run(start: Start) -> None:
    one = start()
    one.fit(quiet, stop_after=1)
    path = one.folder / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    config = json.loads(saved["affect"]["config"])
    del config["train"]["focal_gamma"]  # as if it had been written before there was such a setting
    saved["affect"]["config"] = json.dumps(config)
    torch.save(saved, path)
    assert start().resume()
    config["train"]["no_more"] = 1
    saved["affect"]["config"] = json.dumps(config)
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match="of another version of affect-train"):
        start().resume()


def test_other_data_are_refused(start: Start) -> None:
    start().fit(quiet, stop_after=1)
    other = start(faces=replace(tiny_faces(), sha256="1" * 64))
    assert other.resume()
    with pytest.raises(SettingsError, match=r"64 faces of data with sha256 0{16}…, this is 64 of 1{16}…"):
        other.fit(quiet)
    assert facts(other)["data_sha256"] == "0" * 64


def voted(towards: int) -> FaceData:
    """The tiny faces, and everybody votes for one emotion."""
    data = tiny_faces()
    votes = np.tile(np.eye(7, dtype=np.float32)[towards], (64, 1))
    data.splits["Training"] = replace(data.split("Training"), votes=votes)
    return data


def test_other_votes_are_refused(start: Start) -> None:
    tables = {"data": {"votes": True}}
    start(faces=voted(3), tables=tables).fit(quiet, stop_after=1)
    other = start(faces=voted(4), tables=tables)
    assert other.resume()
    with pytest.raises(SettingsError, match=r"run\.json: the run was begun with other contents of: votes; .*--fresh"):
        other.fit(quiet)
    same = start(faces=voted(3), tables=tables)
    same.resume()
    same.fit(quiet, stop_after=1)
    assert same.state.epoch == 2


def test_other_auxiliary_faces_are_refused(start: Start, tmp_path: Path) -> None:
    write_aux(tmp_path / "aux" / "more", tiny_split(10, 9))
    start(aux=tmp_path / "aux", tables={"data": {"aux": ["more"]}}).fit(quiet, stop_after=1)
    write_aux(tmp_path / "aux" / "more", tiny_split(10, 8))  # as many, of the same names
    other = start(aux=tmp_path / "aux", tables={"data": {"aux": ["more"]}})
    other.resume()
    with pytest.raises(SettingsError, match="other contents of: auxiliary set more"):
        other.fit(quiet)


def test_a_teacher_that_was_trained_again_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = iter(["a" * 64, "a" * 64, "b" * 64])

    def answer(names: Any, images: Any, device: Any) -> Any:
        return teachers.Taught(np.full((len(images), 7), 1 / 7, np.float32), (next(hashes),))

    monkeypatch.setattr(teachers, "teacher_probabilities", answer)
    start(teacher=["a"]).fit(quiet, stop_after=1)
    for refused in (False, True):
        again = start(teacher=["a"])
        again.resume()
        with pytest.raises(SettingsError, match="of: teacher 1") if refused else nullcontext():
            again.fit(quiet, stop_after=1)


def test_other_initial_weights_are_refused_while_they_are_there(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tables = {"init": str(path)}
    for value in (0.0, 1.0):
        save_file({k: torch.full_like(v, value) for k, v in weights(start(spec=TINY_HEADS)).items()}, path)
        one = start(spec=TINY_HEADS, tables=tables)
        assert one.resume() is (value == 1)
        with pytest.raises(SettingsError, match="of: initial weights") if value else nullcontext():
            one.fit(quiet, stop_after=1)
    begun = facts(one)["inputs_sha256"]
    path.unlink()  # the checkpoint has what is needed
    last = start(spec=TINY_HEADS, tables=tables)
    last.resume()
    last.fit(quiet, stop_after=1)
    assert facts(last)["inputs_sha256"] == begun


def test_a_run_from_before_there_were_such_hashes_goes_on(start: Start) -> None:
    one = start(faces=voted(3), tables={"data": {"votes": True}})
    one.fit(quiet, stop_after=1)
    kept = {k: v for k, v in facts(one).items() if k not in ("data_set", "inputs_sha256")}
    (one.folder / "run.json").write_text(json.dumps(kept))
    again = start(faces=voted(4), tables={"data": {"votes": True}})
    assert again.resume()
    again.fit(quiet)
    assert again.finished
    assert list(facts(again)["inputs_sha256"]) == ["votes"]


def test_a_finished_run_trains_no_further(start: Start) -> None:
    one = start(epochs=1)
    one.fit(quiet)
    before = (one.folder / "last.ckpt").read_bytes()
    again = start(epochs=1)
    assert again.resume()
    assert again.finished
    again.fit(quiet)
    assert (one.folder / "last.ckpt").read_bytes() == before


def test_a_new_start_leaves_nothing_of_the_old_run(start: Start) -> None:
    old = start()
    old.fit(quiet)
    (old.folder / "nan-batch.json").write_text("{}")
    new = start(lr=0.001)

    def stop(_: Any) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        new.fit(quiet, on_epoch=stop)  # in its first epoch, before there is a checkpoint
    assert sorted(path.name for path in new.folder.iterdir()) == [
        ".lock",
        "best.ckpt",
        "log.csv",
        "run.json",
        "tensorboard",
    ]
    assert len(list((new.folder / "tensorboard").glob("events*"))) == 1
    assert len(log(new)) == 1
    assert facts(new)["config"]["train"]["lr"] == 0.001


# Damaged checkpoints


class Code:
    def __reduce__(self) -> Any:
        return os.abort, ()


@pytest.mark.parametrize("file", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "text", "hole", "pickle", "code", "list", "other"])
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
                "pickle": pickle.dumps(Code()),
            }[damage]
        )
    again = start()
    with pytest.raises(CheckpointError) as caught:
        again.resume() if file == "last.ckpt" else again.best()
    assert str(path) in caught.value.message
    assert "--fresh" in caught.value.message


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


# Full disk


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


# Losses that are not finite


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


# The loop


def test_it_learns(start: Start) -> None:
    one = start(epochs=6)
    lines: list[str] = []
    one.fit(lines.append)
    assert len(log(one)) == len(lines) == 6
    assert float(log(one)[-1]["train_loss"]) < 0.1 * float(log(one)[0]["train_loss"])
    assert one.state.best_accuracy == 1
    assert "epoch   6  lr 0.01000" in lines[-1]


@pytest.mark.parametrize(("select", "epoch"), [("accuracy", 2), ("balanced", 3)])
def test_best_is_the_network_of_the_best_epoch(
    start: Start, monkeypatch: pytest.MonkeyPatch, select: str, epoch: int
) -> None:
    accuracies, recalls = iter([0.2, 0.4, 0.3]), iter([0.1, 0.1, 0.4])
    monkeypatch.setattr(metrics, "accuracy", lambda *_: next(accuracies))
    monkeypatch.setattr(metrics, "macro_recall", lambda *_: next(recalls))
    one = start(select=select)
    snapshots: list[Weights] = []
    one.fit(lambda _: snapshots.append(weights(one)))
    assert (one.state.best_epoch, one.state.best_accuracy) == (epoch, {2: 0.4, 3: 0.3}[epoch])
    best = one.best()
    assert not best.training
    assert not differing(dict(best.state_dict()), snapshots[epoch - 1])


def test_with_a_weight_average_that_is_judged_and_kept(start: Start) -> None:
    one = start(epochs=1, ema=0.9)
    one.fit(quiet)
    plain = weights(one)
    saved = torch.load(one.folder / "last.ckpt", weights_only=True)["state_dict"]
    average = {k.removeprefix("average.module."): v for k, v in saved.items() if k.startswith("average.module.")}
    assert not differing(weights(one, "best.ckpt"), average)
    assert "out.weight" in differing(plain, average)
    judged = log(one)[0]["public_loss"]
    one.best()
    assert float(judged) == pytest.approx(public_loss(one))


def public_loss(of: Run) -> float:
    logits = predict_logits(of.model, of.validation, of.normalise, of.device)
    return metrics.nll(metrics.softmax(logits), of.validation.labels)


def test_tensorboard_has_the_loss_of_some_steps_and_the_figures_of_all_epochs(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]

    monkeypatch.setattr(module, "LOG_STEPS", 3)
    monkeypatch.setattr(run, "LOG_STEPS", 3)
    one = start()
    one.fit(quiet)
    events = event_accumulator.EventAccumulator(str(one.folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 5, 8, 11]
    for name in ("lr", "train_loss", "public_loss", "public_accuracy", "public_macro_recall"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(int(row["epoch"]), pytest.approx(float(row[name]))) for row in log(one)]


def test_early_stopping_counts_epochs_without_lower_loss(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 0.9, 0.95, 0.9, 0.8, 0.81, 0.82, 0.83, 0.1])
    monkeypatch.setattr(metrics, "nll", lambda *_: next(losses))
    one = start(epochs=20, stop_epochs=3)
    one.fit(quiet, stop_after=7)
    assert not one.finished
    again = start(epochs=20, stop_epochs=3)
    again.resume()
    again.fit(quiet)
    assert again.finished
    assert (again.state.epoch, again.state.best_loss_epoch, again.state.best_loss) == (8, 5, 0.8)


def test_early_stopping_and_plateau_may_watch_the_accuracy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, accuracies = iter(range(9, 0, -1)), iter([0.5, 0.75, 0.75, 0.25, 0.5])
    monkeypatch.setattr(metrics, "nll", lambda *_: float(next(losses)))
    monkeypatch.setattr(metrics, "accuracy", lambda *_: next(accuracies))
    one = start(epochs=20, lr=0.08, stop_epochs=3, watch="accuracy", schedule="plateau", plateau_epochs=2)
    one.fit(quiet)
    assert (one.state.epoch, one.state.best_loss_epoch, one.state.best_loss) == (5, 2, 0.25)
    assert [float(row["lr"]) for row in log(one)] == [0.08] * 4 + [0.04]


def test_the_plateau_schedule_cuts_after_as_many_epochs_as_it_says(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 1.0, 1.1, 0.9, 0.9, 0.9, 0.9])
    monkeypatch.setattr(metrics, "nll", lambda *_: next(losses))
    one = start(epochs=7, lr=0.08, schedule="plateau", plateau_epochs=2, plateau_factor=0.5)
    one.fit(quiet)
    assert [float(row["lr"]) for row in log(one)] == [0.08, 0.08, 0.08, 0.04, 0.04, 0.04, 0.02]


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


def test_to_stop_after_no_epochs_is_to_do_nothing(start: Start) -> None:
    one = start()
    one.fit(quiet, stop_after=0)
    assert not one.folder.exists()


# What is frozen


@pytest.mark.parametrize(
    ("frozen", "train"),
    [
        ("body.0.", {"freeze": ["body.0"]}),
        ("body.", {"freeze": ["body."]}),
        ("body.", {"body_lr_factor": 0}),
        ("head.bias", {"freeze": ["head.bias"]}),
        ("none", {}),
    ],
    ids=str,
)
def test_what_is_frozen_stays_as_it_is_and_the_rest_learns(start: Start, frozen: str, train: dict[str, Any]) -> None:
    one = start(spec=TINY_HEADS, epochs=2, l2_kernels=1e-2, ema=0.5, **train)
    before = weights(one)
    one.fit(quiet, stop_after=1)
    again = start(spec=TINY_HEADS, epochs=2, l2_kernels=1e-2, ema=0.5, **train)
    again.resume()
    again.fit(quiet)
    changed = differing(before, weights(again))
    assert changed == [name for name in before if not name.startswith(frozen)]
    assert differing(before, weights(again, "best.ckpt")) == changed
    if frozen == "body.":
        assert "body.1.running_mean" in before


def test_what_a_network_came_with_frozen_learns_unless_the_settings_freeze_it(start: Start) -> None:
    one = start(spec=TINY_HEADS, epochs=1)
    one.model.requires_grad_(False)
    before = weights(one)
    one.fit(quiet)
    assert differing(before, weights(one)) == list(before)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"freeze": ["con"]}, "no parameter is called or lies below 'con'; there are conv.weight"),
        ({"freeze": ["conv", "norm", "out"]}, "every parameter is frozen"),
        ({"body_lr_factor": 0.1}, "body_lr_factor: Tiny names no `head`"),
    ],
)
def test_what_cannot_be_frozen_is_an_error(start: Start, train: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        start(**train).fit(quiet)


# What it is given


def test_the_provenance_is_written(start: Start) -> None:
    one = start(epochs=2)
    one.fit(quiet, stop_after=1)
    found = facts(one)
    assert found["architecture"] == "support.tiny:Tiny"
    assert found["config"] == json.loads(one.config.model_dump_json())
    assert found["config"]["train"]["seed"] == 5
    assert found["data_sha256"] == "0" * 64
    assert (found["data_set"], found["inputs_sha256"]) == ({"kind": "fer2013", "name": None, "aux": []}, {})
    assert found["faces"] == {"Training": 64, "PublicTest": 21}
    assert (found["faces_trained_on"], found["blank_dropped"]) == (64, {"Training": 0, "PublicTest": 0})
    assert found["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (found["git_commit"], found["processes"], found["aux"], found["earlier"]) == ("abc", 1, None, [])
    assert found["device"].endswith("float32")


def test_the_provenance_keeps_what_trained_the_epochs_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start().fit(quiet, stop_after=1)
    start_again(start).fit(quiet, stop_after=1)  # the same commit
    one = start_again(start)
    monkeypatch.setattr(run, "git_commit", lambda: "def")
    one.fit(quiet)
    assert facts(one)["git_commit"] == "def"
    assert facts(one)["earlier"] == [{"epochs": 2, "git_commit": "abc"}]


def start_again(start: Start) -> Run:
    one = start()
    assert one.resume()
    return one


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_lost_provenance_is_written_anew(start: Start, text: str) -> None:
    start().fit(quiet, stop_after=1)
    one = start_again(start)
    (one.folder / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match="not the folder of a run"):
        open_run(one.folder, tiny_faces(), one.device)
    one.fit(quiet)
    assert facts(one)["data_sha256"] == "0" * 64


def test_data_without_a_validation_split_are_refused(start: Start) -> None:
    only = tiny_faces()
    del only.splits["PublicTest"]
    with pytest.raises(MediaError, match="no split 'PublicTest'"):
        start(faces=only)


def write_aux(folder: Path, split: Split) -> None:
    for k, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        (folder / EMOTIONS[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / EMOTIONS[label] / f"{k}.png"), image)


def test_auxiliary_faces_join_the_training_split_at_their_weight(start: Start, tmp_path: Path) -> None:
    write_aux(tmp_path / "aux" / "more", tiny_split(10, 9))
    one = start(aux=tmp_path / "aux", epochs=1, tables={"data": {"aux": ["more"], "aux_weight": 0.25}})
    assert (len(one.training), len(one.validation)) == (74, 21)
    assert one.training.weights is not None
    assert one.training.weights.tolist() == [1.0] * 64 + [0.25] * 10
    joined, made = one.training.images[64:], tiny_split(10, 9).images
    assert {face.tobytes() for face in joined} == {face.tobytes() for face in made}
    assert one.normalise == start("without").normalise  # of FER2013's own faces
    one.fit(quiet)
    assert facts(one)["faces_trained_on"] == 74
    assert facts(one)["aux"] == str(tmp_path / "aux")
    assert facts(one)["data_set"]["aux"] == ["more"]


def test_auxiliary_sets_want_a_folder(start: Start) -> None:
    one = start(tables={"data": {"aux": ["more"]}})
    with pytest.raises(SettingsError, match=r"data\.aux names more; say where they are: --aux FOLDER"):
        one.fit(quiet)
    assert not one.folder.exists()


def test_leaking_faces_are_dropped(start: Start) -> None:
    leaky = tiny_faces()
    leaky.split("PublicTest").images[0] = leaky.split("Training").images[3]
    assert len(start(faces=leaky).training) == 64
    one = start(faces=leaky, tables={"data": {"drop_leaks": True}})
    assert len(one.training) == 63
    assert 3 not in one.training.rows


def test_without_a_validation_split_a_share_of_training_is_held_out(start: Start) -> None:
    only = tiny_faces()
    del only.splits["PublicTest"]
    one = start(faces=only, epochs=1, tables={"data": {"holdout": 0.25}})
    assert (len(one.training), len(one.validation)) == (50, 14)  # two of each class
    assert not set(one.training.rows) & set(one.validation.rows)
    one.fit(quiet)
    assert facts(one)["faces"] == {"Training": 50, "PublicTest": 14}
    assert facts(one)["config"]["data"]["holdout"] == 0.25
    assert list(facts(one)["inputs_sha256"]) == ["held-out rows"]
    with pytest.raises(SettingsError, match="the data has a split PublicTest"):
        start(tables={"data": {"holdout": 0.25}})


def test_the_training_split_is_balanced(start: Start) -> None:
    assert np.bincount(start(balance="oversample").training.labels).tolist() == [10] * 7


def test_the_teachers_are_asked_about_the_faces_trained_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def answer(names: Any, images: Any, device: Any) -> Any:
        asked.append((tuple(names), len(images), device.name))
        return teachers.Taught(np.full((len(images), 7), 1 / 7, np.float32), ("a" * 64, None))

    monkeypatch.setattr(teachers, "teacher_probabilities", answer)
    one = start(teacher=["a", "b.safetensors"], teacher_weight=1.0, epochs=4)
    one.fit(quiet)
    assert asked == [(("a", "b.safetensors"), 64, "cpu")]
    assert facts(one)["inputs_sha256"] == {"teacher 1": "a" * 64}
    assert one.state.best_accuracy < 0.9  # nothing to be learnt from a teacher who does not know
    assert float(log(one)[-1]["public_loss"]) > 1.5


def ones(model: nn.Module, place: str) -> None:
    """Initial weights by a scheme of a recipe: everything one."""
    assert place == "there"
    for parameter in model.parameters():
        nn.init.ones_(parameter)


class Measuring(TinyHeads):
    """Keeps what it was given to measure."""

    def calibrate(self, faces: torch.Tensor) -> None:
        self.measured = (tuple(faces.shape), float(faces.mean()), float(self.head.weight.detach().mean()))


def test_a_new_run_starts_from_its_initial_weights_and_measures(start: Start) -> None:
    spec = replace(TINY_HEADS, architecture=f"{__name__}:Measuring", inits={"ones": f"{__name__}:ones"})
    one = start(spec=spec, tables={"init": "ones:there"}, epochs=2, lr=1e-9)
    one.fit(quiet, stop_after=1)
    assert isinstance(one.model, Measuring)
    shape, mean, weight = one.model.measured
    assert shape == (64, 1, 48, 48)
    assert mean == pytest.approx(0, abs=1e-3)
    assert weight == 1
    assert float(weights(one)["head.weight"].mean()) == pytest.approx(1)
    again = start(spec=spec, tables={"init": "ones:there"}, epochs=2, lr=1e-9)
    again.resume()
    again.fit(quiet)
    assert not hasattr(again.model, "measured")  # the checkpoint has it


# Opened again


def test_a_run_is_opened_by_its_folder(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_tiny(monkeypatch)
    one = start(spec=TINY, epochs=1, tables={"model": {"width": 2}})
    one.fit(quiet)
    opened = open_run(one.folder, tiny_faces(), one.device)
    assert (opened.config, opened.state, opened.spec) == (one.config, one.state, TINY)
    assert not differing(dict(opened.best().state_dict()), weights(one, "best.ckpt"))


def test_a_run_is_opened_without_what_it_was_trained_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_tiny(monkeypatch)
    write_aux(tmp_path / "aux" / "more", tiny_split(10, 9))
    one = start(spec=TINY, aux=tmp_path / "aux", epochs=1, tables={"data": {"aux": ["more"]}})
    one.fit(quiet)
    shutil.rmtree(tmp_path / "aux")
    opened = open_run(one.folder, tiny_faces(), one.device)
    assert not differing(dict(opened.best().state_dict()), weights(one, "best.ckpt"))
    with pytest.raises(MediaError, match="expected an auxiliary set 'more', got nothing"):
        _ = opened.training


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match=r"not the folder of a run .*run\.json"):
        open_run(tmp_path, tiny_faces(), cpu)


# Several processes


def test_two_processes_learn_what_one_does(tmp_path: Path, start: Start) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    done = subprocess.run(
        [sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "several",
         "--set", "model.norm=false", "--set", "epochs=2", "--device", "cpu", "--devices", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:9] for line in lines] == ["tiny-head", "epoch   1", "epoch   2", "best Publ"]  # of one process only
    several = start("several", spec=TINY_HEADS, epochs=2, tables={"model": {"norm": False}})
    assert several.resume()
    assert several.finished
    assert facts(several)["processes"] == 2
    one = start("one", spec=TINY_HEADS, epochs=2, tables={"model": {"norm": False}})
    one.device = Device("cpu")  # in the precision of the others
    one.fit(quiet)
    for ours, theirs in zip(log(one), log(several), strict=True):
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), rel=0.02)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(several)[name], tensor, atol=2e-3, rtol=0.02)


def test_two_machines_train_one_network(tmp_path: Path, start: Start, unused_tcp_port: int) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    command: list[str | Path] = [
        sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "several",
        "--set", "epochs=2", "--set", "ema=.9", "--device", "cpu", "--devices", "1", "--nodes", "2",
    ]  # fmt: skip
    shared = {"PYTHONPATH": str(TESTS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_tcp_port)}
    machines = [
        subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **shared, "NODE_RANK": str(rank)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [machine.communicate(timeout=240) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0][0].count("epoch ") == 2 + said[0][0].count("in epoch ")
    assert "epoch   " not in said[1][0]  # the first one tells
    several = start("several", spec=TINY_HEADS, epochs=2, tables={"train": {"ema": 0.9}})
    assert several.resume()
    assert several.finished
    assert facts(several)["processes"] == 2


def test_a_person_sees_epoch_and_time_left(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("affect_training.run.is_interactive", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    start(epochs=2).fit(quiet)
    shown = capfd.readouterr().out
    assert "Epoch 1/1" in shown
    assert "4/4" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)


def test_sigterm_is_no_success(tmp_path: Path) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    command: list[str | Path] = [
        sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "cut",
        "--set", "epochs=100000", "--device", "cpu",
    ]  # fmt: skip
    said = []
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("epoch   2"):
                process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; the same command goes on" in said[-1]


def test_two_processes_do_not_share_a_folder(start: Start) -> None:
    one = start()
    with alone(one.folder, "run"), pytest.raises(SettingsError, match="another process works on this run"):
        one.fit(quiet)
    one.fit(quiet)
    assert one.finished


def test_the_best_epoch_is_that_of_its_weights(start: Start) -> None:
    one = start()
    one.fit(quiet)
    saved = read_checkpoint(one.folder / "best.ckpt", "network")
    assert saved["epoch"] == one.state.best_epoch
    save_tensors({**saved, "epoch": 9}, one.folder / "best.ckpt")  # killed before last.ckpt was written
    one.best()
    assert one.state.best_epoch == 9


@pytest.mark.parametrize(("side", "told"), [(None, "cannot take it"), (96, "scales faces itself")])
def test_a_size_that_the_network_does_not_take_is_refused(
    start: Start, side: int | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start(spec=TINY_HEADS, tables={"augment": {"size": 44}})
    if side:
        one.model.side = side  # type: ignore[assignment]
    with pytest.raises(SettingsError, match=told):
        one.fit(quiet)
    assert not (one.folder / "run.json").exists()


@pytest.mark.parametrize(("name", "number"), [("LOCAL_RANK", "3"), ("SLURM_LOCALID", "2")])
def test_each_process_has_a_gpu_of_its_own(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, number: str
) -> None:
    asked: list[str] = []

    def device(text: str, precision: str) -> Device:
        asked.append(text)
        raise InterruptedError

    one = start()
    one.device = SimpleNamespace(is_cuda=True, precision="float32")  # type: ignore[assignment]
    one.devices = 4
    monkeypatch.setenv(name, number)
    monkeypatch.setattr(run, "Device", device)
    with pytest.raises(InterruptedError):
        one.fit(quiet)
    assert asked == [f"cuda:{number}"]
