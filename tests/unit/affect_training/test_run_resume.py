import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training import teachers
from affect_training.config import run_config
from affect_training.data import FaceData
from affect_training.run import Run
from safetensors.torch import save_file
from support.runs import TESTS, differing, facts, log, quiet, weights, write_aux
from support.tiny import TINY_HEADS, tiny_faces, tiny_split

from affect.errors import CheckpointError, SettingsError
from affect.inference.device import Device

from .conftest import SPEC, Start

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
        env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False, timeout=600,
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
