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
from support.runs import TESTS, facts, log, quiet, weights
from support.tiny import TINY_HEADS, tiny_faces, write_fer2013

from affect.inference.device import Device

from .conftest import Start


def test_two_processes_learn_what_one_does(tmp_path: Path, start: Start) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    done = subprocess.run(
        [sys.executable, TESTS / "support/train.py", "run", "tiny-heads", "--data", "fer2013.csv", "--out", "several",
         "--set", "model.norm=false", "--set", "epochs=2", "--device", "cpu", "--devices", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False,
        timeout=400,
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
    try:
        said = [machine.communicate(timeout=240) for machine in machines]
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
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        for line in process.stdout:
            said.append(line)
            if line.startswith("epoch   2"):
                process.terminate()
        watchdog.cancel()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; the same command goes on" in said[-1]


class _EnoughError(Exception):
    """What the test came to see was seen."""


def test_torchrun_numbers_the_processes_within_a_job_of_slurm(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NAME": "sbatch"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given: list[Any] = []

    def trainer(**settings: Any) -> None:
        given.append([type(plugin).__name__ for plugin in settings["plugins"]])
        raise _EnoughError

    monkeypatch.setattr(run, "Trainer", trainer)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}.items():
        with pytest.raises(_EnoughError):
            start().fit(quiet)
        monkeypatch.setenv(name, value)
    with pytest.raises(_EnoughError):
        start().fit(quiet)
    assert given[0] == ["WholeFile", "SLURMEnvironment"]
    assert given[-1] == ["WholeFile"]
