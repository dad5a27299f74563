import itertools

import pytest
import torch
from affect_training import bench
from affect_training.bench import bench_recipe
from affect_training.module import FaceModule
from support.tiny import TINY, Tiny, install_tiny

from affect.inference.device import Device

FAST = {"train": {"batch_size": 4}}


@pytest.fixture(autouse=True)
def _tiny_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)


def test_rates_and_ratios_agree_with_the_clock(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock is read when a block starts and ends: run takes 4 s, bare 2 s, the floor 1 s.
    turns = itertools.cycle([4.0, 0.0, 2.0, 0.0, 1.0, 0.0])
    times = itertools.accumulate(itertools.chain([0.0] * (bench.WARM_UP + 1), turns))
    monkeypatch.setattr(bench._Clock, "_now", lambda _: next(times))
    speed = bench_recipe(TINY, FAST, cpu, steps=3, rounds=2)
    assert (speed.run, speed.bare, speed.floor) == (3.0, 6.0, 12.0)
    assert (speed.to_bare, speed.to_floor) == (0.5, 0.25)
    assert (speed.steps, speed.rounds) == (3, 2)


def test_slow_steps_are_made_less_often(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(step=2.0)
    monkeypatch.setattr(bench._Clock, "_now", lambda _: next(times))
    assert bench_recipe(TINY, FAST, cpu, steps=9, rounds=1, seconds=5.0).steps == 2
    assert bench_recipe(TINY, FAST, cpu, steps=9, rounds=1, seconds=0.1).steps == 1


def test_the_three_take_turns_with_equal_steps(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    forward = Tiny.forward

    def noted(self: Tiny, faces: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append((id(self), len(faces)))
        return forward(self, faces)

    monkeypatch.setattr(Tiny, "forward", noted)
    speed = bench_recipe(TINY, FAST, cpu, steps=2, rounds=2)
    assert {size for _, size in seen} == {4}
    blocks = [(who, len(list(calls))) for who, calls in itertools.groupby(who for who, _ in seen)]
    assert [count for _, count in blocks] == [bench.WARM_UP, 2, 2] + [2] * 6  # warm-up, two rounds of the three
    names = [who for who, _ in blocks]
    assert names == names[:3] * 3
    assert len(set(names)) == 3
    assert min(speed.run, speed.bare, speed.floor) > 0
    assert speed.to_bare > 0
    assert 0 < speed.before_mb <= speed.peak_mb
    assert speed.parameters == sum(p.numel() for p in Tiny().parameters())


def test_the_step_is_that_of_a_run_with_its_augmentation(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []
    prepare = FaceModule.prepare

    def noted(self: FaceModule, rows: torch.Tensor) -> object:
        prepared.append(len(rows))
        return prepare(self, rows)

    monkeypatch.setattr(FaceModule, "prepare", noted)
    tables = {**FAST, "augment": {"size": 46, "mixup": 0.2, "rotation_deg": 5.0}}
    speed = bench_recipe(TINY, tables, cpu, steps=2, rounds=1)
    assert speed.size == 46
    assert prepared == [4] * (bench.WARM_UP + bench.READY + 2)  # warm-up, what lies ready for the bare loop, one round


def test_what_a_run_needs_from_elsewhere_is_left_out(cpu: Device) -> None:
    tables = {
        "train": {**FAST["train"], "teacher": ["gone.safetensors"], "balance": "smote", "votes_weight": 0.3},
        "data": {"aux": ["gone"], "votes": True},
        "init": "gone.safetensors",
    }
    assert bench_recipe(TINY, tables, cpu, steps=1, rounds=1).run > 0
