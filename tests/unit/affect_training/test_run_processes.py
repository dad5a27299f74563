import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from affect_training import run
from affect_training.storage import alone
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from support.limits import LIMIT_S
from support.runs import TESTS, facts, log, quiet, weights
from support.tiny import TINY_HEADS, tiny_faces, write_fer2013

from affect.errors import SettingsError
from affect.inference.device import Device

from .conftest import Start

SAME_CODE = {"PYTHONPATH": os.pathsep.join((str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])))}
"""Lets another process import what this one does."""


def test_two_processes_learn_what_one_does(tmp_path: Path, start: Start) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    done = subprocess.run(
        [sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "several",
         "--set", "model.norm=false", "--set", "epochs=2", "--device", "cpu", "--devices", "2"],
        cwd=tmp_path, env={**os.environ, **SAME_CODE}, capture_output=True, text=True, check=False,
        timeout=LIMIT_S,
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


@pytest.mark.parametrize("blocked", ["best.partial", "log.csv.partial", "last.partial"])
def test_what_the_first_process_cannot_write_ends_both(tmp_path: Path, blocked: str) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    (tmp_path / "several" / blocked).mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "several",
         "--set", "epochs=2", "--device", "cpu", "--devices", "2"],
        cwd=tmp_path, env={**os.environ, **SAME_CODE}, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("affect-train: ")]
    assert len(said) == 2, done.stderr
    (other,) = [line for line in said if "the first process failed, so this one ends too: " in line]
    (first,) = set(said) - {other}
    assert blocked in first
    assert "Traceback" not in done.stderr


def test_two_machines_train_one_network(tmp_path: Path, start: Start, unused_tcp_port: int) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    command: list[str | Path] = [
        sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "several",
        "--set", "epochs=2", "--set", "ema=.9", "--device", "cpu", "--devices", "1", "--nodes", "2",
    ]  # fmt: skip
    shared = {**SAME_CODE, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_tcp_port)}
    machines = [
        subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **shared, "NODE_RANK": str(rank)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [machine.communicate(timeout=LIMIT_S) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0][0].count("epoch ") == 2 + said[0][0].count("in epoch ")
    assert "epoch   " not in said[1][0]  # the first one tells
    several = start("several", spec=TINY_HEADS, epochs=2, tables={"train": {"ema": 0.9}})
    assert several.resume()
    assert several.finished
    assert facts(several)["processes"] == 2


def test_sigterm_is_no_success(tmp_path: Path) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    command: list[str | Path] = [
        sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "cut",
        "--set", "epochs=100000", "--device", "cpu",
    ]  # fmt: skip
    said = []
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, **SAME_CODE, "PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        for line in process.stdout:
            said.append(line)
            if line.startswith("epoch   2"):
                process.terminate()
        watchdog.cancel()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; the same command goes on" in said[-1]


def test_a_run_alone_is_one_whatever_number_srun_gave_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_NAME": "seeds"}
    for name, value in numbers.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 3)  # as Lightning reads it from these
    one = start()
    one.fit(quiet)
    assert len(log(one)) == 3
    assert facts(one)["processes"] == 1
    assert {"last.ckpt", "best.ckpt", ".lock"} < {path.name for path in one.folder.iterdir()}
    assert list((one.folder / "tensorboard").iterdir())


def test_processes_that_were_not_told_of_each_other_do_not_share_a_folder(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    one = start()
    with alone(one.folder, "run"), pytest.raises(SettingsError, match=r"another process works .*--devices N"):
        one.fit(quiet)


def test_more_processes_than_gpus_are_refused_before_the_folder_is_emptied(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start().fit(quiet, stop_after=1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    one = start()
    one.devices, one.device = 2, SimpleNamespace(is_cuda=True)  # type: ignore[assignment]
    with pytest.raises(SettingsError, match="--devices 2: each needs a GPU of its own, and this process sees 1"):
        one.fit(quiet)
    assert start().resume()


def test_what_lightning_refuses_leaves_the_folder_as_it_was(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise MisconfigurationException

    start().fit(quiet, stop_after=1)
    monkeypatch.setattr(run, "Trainer", refuse)
    with pytest.raises(MisconfigurationException):
        start().fit(quiet)
    assert start().resume()
