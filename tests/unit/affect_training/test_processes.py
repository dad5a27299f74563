from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

import pytest
import torch
from affect_training.processes import OwnEnd, SameEpoch, by_the_first, check_gpus, cluster, is_first_process, own_device
from lightning.fabric.utilities.rank_zero import rank_zero_only

from affect.errors import AffectError, SettingsError

NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID")


class Launch(Protocol):
    """Sets the variables of a launcher."""

    def __call__(self, **variables: str) -> None: ...


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Start with the variables of no launcher."""

    def set_all(**variables: str) -> None:
        for name in NUMBERS:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    set_all()
    return set_all


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
    ],
    ids=str,
)
def test_the_first_process_of_all_machines(launch: Launch, environment: dict[str, str], first: bool) -> None:
    launch(**environment)
    assert is_first_process(2) is first
    assert is_first_process(1)


@pytest.mark.parametrize(
    ("name", "processes", "environment", "own"),
    [
        ("cuda", 1, {"LOCAL_RANK": "3"}, "cuda"),
        ("auto", 1, {"SLURM_LOCALID": "3"}, "auto"),
        ("cpu", 4, {"LOCAL_RANK": "3"}, "cpu"),
        ("cuda", 4, {}, "cuda:0"),
        ("cuda", 4, {"LOCAL_RANK": "3"}, "cuda:3"),
        ("auto", 4, {"SLURM_LOCALID": "2"}, "cuda:2"),
        ("auto", 4, {"LOCAL_RANK": "1", "SLURM_LOCALID": "0"}, "cuda:1"),
    ],
)
def test_each_of_several_processes_has_a_gpu_of_its_own(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, name: str, processes: int, environment: dict[str, str], own: str
) -> None:
    launch(**environment)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert own_device(name, processes) == own


def test_several_processes_without_gpus_are_on_the_cpu(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    launch(LOCAL_RANK="1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert own_device("auto", 2) == "auto"


@pytest.mark.parametrize(("cuda", "devices"), [(True, 2), (False, 8)])
def test_as_many_processes_as_gpus_are_fine(monkeypatch: pytest.MonkeyPatch, cuda: bool, devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(cast(Any, SimpleNamespace(is_cuda=cuda)), devices)


def names(devices: int, nodes: int) -> list[str]:
    """Return the kinds of environment that Lightning is given."""
    return [type(environment).__name__ for environment in cluster(devices, nodes)]


def test_a_process_alone_is_the_first_whatever_its_launcher_says(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(SLURM_NTASKS="2", SLURM_PROCID="1", SLURM_LOCALID="1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert names(1, 1) == ["LightningEnvironment"]
    assert rank_zero_only.rank == 0  # type: ignore[attr-defined]


def test_torchrun_numbers_the_processes_within_a_job_of_slurm(launch: Launch) -> None:
    assert names(2, 1) == []
    slurm = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "sbatch"}
    launch(**slurm)
    assert names(2, 1) == ["SLURMEnvironment"]
    launch(**slurm, TORCHELASTIC_RUN_ID="x", RANK="0", LOCAL_RANK="0")
    assert names(2, 1) == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SLURM_NTASKS": "2"}, r"--devices 2 --nodes 1: .*Use `--ntasks-per-node=2` instead"),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, r"--devices 2 --nodes 1: .*Set `devices=4`"),
    ],
)
def test_other_processes_than_slurm_started_are_refused(launch: Launch, environment: dict[str, str], said: str) -> None:
    launch(**environment)
    with pytest.raises(SettingsError, match=said):
        cluster(2, 1)


def trainer(epochs: list[int]) -> Any:
    """Stand for a trainer whose processes go on from these epochs."""

    def reduce(own: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "max"
        assert own[0] in epochs
        return torch.stack([own, *(torch.tensor([epoch, -epoch]) for epoch in epochs)]).amax(0)

    strategy = SimpleNamespace(root_device=torch.device("cpu"), reduce=reduce)
    return SimpleNamespace(world_size=len(epochs), strategy=strategy)


@pytest.mark.parametrize("epochs", [[0, 3], [3, 0], [2, 2, 3]])
def test_processes_that_go_on_from_different_epochs_all_stop(epochs: list[int]) -> None:
    for own in epochs:
        with pytest.raises(SettingsError, match=f"run: the processes .* {min(epochs)} to {max(epochs)}; .*share it"):
            SameEpoch(Path("run"), own).setup(trainer(epochs), None, "fit")


@pytest.mark.parametrize("epochs", [[3], [0, 0], [3, 3, 3]])
def test_processes_that_agree_go_on(epochs: list[int]) -> None:
    SameEpoch(Path("run"), epochs[0]).setup(trainer(epochs), None, "fit")


def pair(*, first: bool, broadcast: Any) -> Any:
    """Stand for the trainer of one of two processes."""
    return SimpleNamespace(world_size=2, is_global_zero=first, strategy=SimpleNamespace(broadcast=broadcast))


def kept_on(wire: list[Any]) -> Callable[[Any], Any]:
    """Return the broadcast of the first process, which keeps what went over the wire."""

    def broadcast(told: Any) -> Any:
        wire.append(told)
        return told

    return broadcast


def test_what_the_first_process_finds_is_every_ones() -> None:
    wire: list[Any] = []
    act: list[str] = []

    def find() -> int:
        act.append("found")
        return 7

    assert by_the_first(pair(first=True, broadcast=kept_on(wire)), find) == 7
    assert by_the_first(pair(first=False, broadcast=lambda _: wire[0]), find) == 7
    assert by_the_first(cast(Any, SimpleNamespace(world_size=1)), find) == 7
    assert act == ["found", "found"]  # the second process only asked


def test_an_error_of_the_first_process_is_every_ones() -> None:
    wire: list[Any] = []

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        by_the_first(pair(first=True, broadcast=kept_on(wire)), fail)
    with pytest.raises(AffectError, match=r"the first process failed, .*OSError: \[Errno 28\] No space left on device"):
        by_the_first(pair(first=False, broadcast=lambda _: wire[0]), fail)


def test_an_error_that_cannot_be_told_is_still_the_first() -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("NCCL error")

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        by_the_first(pair(first=True, broadcast=broken), fail)
    with pytest.raises(RuntimeError, match="NCCL error"):
        by_the_first(pair(first=False, broadcast=broken), fail)


@pytest.mark.parametrize(("error", "watched"), [(AffectError("x"), 0), (KeyboardInterrupt(), 2), (ValueError(), 2)])
def test_who_fails_with_the_others_is_not_killed_for_them(error: BaseException, watched: int) -> None:
    launcher = SimpleNamespace(procs=["second", "third"])
    trainer = cast("Any", SimpleNamespace(strategy=SimpleNamespace(launcher=launcher)))
    OwnEnd().on_exception(trainer, None, error)
    assert len(launcher.procs) == watched
    alone = cast("Any", SimpleNamespace(strategy=SimpleNamespace(launcher=None)))
    OwnEnd().on_exception(alone, None, error)
