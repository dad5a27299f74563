"""The training step alone; what comes of many of them is in test_run."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from affect_training import module as module_module
from affect_training.config import run_config
from affect_training.data import FaceData
from affect_training.module import FaceModule, LossNotFiniteError, on_its_way
from affect_training.provenance import Normalisation
from affect_training.targets import Objective, Targets
from support.tiny import TINY_HEADS, TinyHeads
from torch.distributed.utils import _to_kwargs

from affect.inference.device import Device

ROWS = torch.arange(16)


class Alone:
    """A trainer of one or more processes, as far as a step asks."""

    def __init__(self, world_size: int = 1, other_loss: float = 0.0) -> None:
        self.world_size, self.global_rank, self.current_epoch = world_size, 0, 0
        self.global_step = 0
        self.strategy = SimpleNamespace(reduce=lambda loss, reduce_op: loss + other_loss)


def module(faces: FaceData, cpu: Device, trainer: Alone | None = None, **tables: Any) -> FaceModule:
    """Make a module in the first step of its first epoch."""
    config = run_config(TINY_HEADS, tables)
    training = faces.split("Training")
    made = FaceModule(
        TinyHeads(), config, training, Targets.of(training, config.train, None), Normalisation.of(training), cpu,
        lambda _: 0.0,
    )  # fmt: skip
    made._trainer = trainer or Alone()  # type: ignore[assignment]
    made.log = lambda *_, **__: None  # type: ignore[method-assign]
    made.on_train_epoch_start()
    return made


def step(made: FaceModule, rows: torch.Tensor, number: int) -> torch.Tensor:
    """Make a step as several processes on GPUs make it: the batch that the step itself gets lies on the GPU."""
    made.on_train_batch_start(rows, number)
    moved: torch.Tensor = _to_kwargs((rows, number), {}, torch.device("meta"), False)[0][0][0]
    assert moved.device.type == "meta"
    return made.training_step(moved, number)


def at(made: FaceModule, epoch: int) -> FaceModule:
    made.trainer.current_epoch = epoch  # type: ignore[misc]
    made.on_train_epoch_start()
    return made


def test_a_step_is_the_loss_of_the_rows(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu)
    found = step(made, ROWS, 0)
    training = faces.split("Training")
    logits = made.network(made._normalise(torch.from_numpy(training.images[:16])))
    objective = Objective(made.config.train, training.labels, cpu.torch)
    expected = objective(logits, Targets.of(training, made.config.train, None).take(ROWS, cpu.torch))
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_faces_without_augmentation_are_those_of_judging(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu)
    prepared, targets = made.prepare(torch.tensor([5, 2]))
    assert torch.equal(prepared, made._normalise(torch.from_numpy(faces.split("Training").images[[5, 2]])))
    assert targets.label.argmax(1).tolist() == [5, 2]


def test_faces_are_changed_alike_in_the_same_epoch_and_otherwise_in_others(faces: FaceData, cpu: Device) -> None:
    augment = {"rotation_deg": 10, "mixup": 0.5, "noise": 0.1, "erasing": 0.5, "size": 44}
    one, other = module(faces, cpu, augment=augment), module(faces, cpu, augment=augment)
    first = one.prepare(ROWS)[0]
    assert first.shape == (16, 1, 44, 44)
    assert not torch.equal(one.prepare(ROWS)[0], first)
    assert torch.equal(other.prepare(ROWS)[0], first)
    assert not torch.equal(at(other, 1).prepare(ROWS)[0], first)
    assert torch.equal(at(other, 0).prepare(ROWS)[0], first)


def test_every_process_draws_its_own(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu, augment={"rotation_deg": 10})
    first, dice = made.prepare(ROWS)[0], torch.initial_seed()
    made.trainer.global_rank = 1  # type: ignore[misc]
    made.on_train_epoch_start()
    assert not torch.equal(made.prepare(ROWS)[0], first)
    assert torch.initial_seed() != dice


def test_the_strength_of_the_augmentation_grows(faces: FaceData, cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, bool]] = []

    def note(faces: torch.Tensor, *, strength: float, erase: bool) -> torch.Tensor:
        seen.append((round(strength, 6), erase))
        return faces

    made = module(faces, cpu, augment={"ramp_epochs": 7, "calm_epochs": 3, "noise": 0.1}, train={"epochs": 20})
    for epoch in (0, 3, 7, 16, 17, 19):
        at(made, epoch)
        monkeypatch.setattr(made, "_augment", note)
        made.prepare(ROWS)
    assert seen == [(0.3, True), (0.6, True), (1.0, True), (1.0, True), (1.0, False), (1.0, False)]


def test_calm_epochs_mix_nothing(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu, augment={"mixup": 1.0, "calm_epochs": 1}, train={"epochs": 3})
    assert not set(np.unique(at(made, 1).prepare(ROWS)[1].label.numpy())) <= {0.0, 1.0}
    assert set(np.unique(at(made, 2).prepare(ROWS)[1].label.numpy())) <= {0.0, 1.0}


def test_faces_and_targets_are_mixed_alike(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu, augment={"mixup": 1.0})
    plain = made._normalise(torch.from_numpy(faces.split("Training").images[:16])).flatten(1)
    mixed, targets = made.prepare(ROWS)
    for face, target in zip(mixed.flatten(1), targets.label, strict=True):
        # The shares with which the faces are in it are those of their labels.
        shares = torch.linalg.lstsq(plain.T, face[:, None]).solution.ravel()
        by_label = torch.zeros(7).index_add_(0, ROWS % 7, shares)
        torch.testing.assert_close(by_label, target, atol=1e-3, rtol=0)


def test_the_gradient_is_clipped_to_its_norm(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu, train={"clip_norm": 0.01})
    step(made, ROWS, 0).backward()  # type: ignore[no-untyped-call]
    made.on_before_optimizer_step(torch.optim.SGD(made.network.parameters(), lr=0.1))
    norms = [p.grad.norm() for p in made.network.parameters() if p.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-3)


def test_the_weight_average_moves_with_every_step(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu, train={"ema": 0.75})
    assert made.evaluated is not made.network
    assert not any(p.requires_grad for p in made.evaluated.parameters())
    for value in (1.0, 2.0, 0.0):
        torch.nn.init.constant_(made.network.get_parameter("head.bias"), value)
        made.network.get_buffer("body.1.running_mean").fill_(value)
        made.on_train_batch_end(None, None, 0)
    # A decay of (1 + n) / (10 + n) while that is less than .75, after n steps: 2/11, then 3/12.
    expected = (1 * 2 / 11 + 2 * 9 / 11) * 3 / 12
    assert made.evaluated.get_parameter("head.bias").tolist() == pytest.approx([expected] * 7)
    assert made.evaluated.get_buffer("body.1.running_mean").tolist() == pytest.approx([expected] * 4)


def test_without_an_average_the_network_itself_is_judged(faces: FaceData, cpu: Device) -> None:
    made = module(faces, cpu)
    made.on_train_batch_end(None, None, 0)
    assert made.evaluated is made.network


# Losses that are not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_found_a_step_later(faces: FaceData, cpu: Device, value: float) -> None:
    made = module(faces, cpu)
    first, second = list(made.train_dataloader())[:2]
    head = made.network.get_parameter("head.bias")
    with torch.no_grad():
        head[0] = value
    step(made, first, 0)
    torch.nn.init.zeros_(head)
    with pytest.raises(LossNotFiniteError, match="epoch 0, step 0 is not finite") as caught:
        step(made, second, 1)
    assert (caught.value.epoch, caught.value.step, caught.value.rows) == (0, 0, first.tolist())


def test_processes_stop_together_and_name_the_whole_batch(faces: FaceData, cpu: Device) -> None:
    fine = module(faces, cpu, Alone(world_size=2, other_loss=1.0))
    own = list(fine.train_dataloader())
    step(fine, own[0], 0)
    step(fine, own[1], 1)
    made = module(faces, cpu, Alone(world_size=2, other_loss=float("nan")))
    step(made, own[0], 0)
    with pytest.raises(LossNotFiniteError) as caught:
        step(made, own[1], 1)
    assert len(own[0]) == 8
    assert len(caught.value.rows) == 16
    assert set(own[0].tolist()) < set(caught.value.rows)


def test_a_loss_on_a_gpu_is_fetched_without_waiting_for_the_work_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[Any] = []
    pinned: list[Any] = []

    def empty(size: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> Any:
        pinned.append((size, dtype, pin_memory))
        return SimpleNamespace(copy_=lambda value, non_blocking: did.append(("copy", value, non_blocking)))

    event = SimpleNamespace(record=lambda stream: did.append(stream), synchronize=lambda: did.append("wait"))
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    loss: Any = SimpleNamespace(is_cuda=True, dtype=torch.float32, device="cuda:1")
    wait = on_its_way(loss)
    assert pinned == [((), torch.float32, True)]
    assert did == [("copy", loss, True), "stream of cuda:1"]
    wait()
    assert did[2:] == ["wait"]


def test_a_loss_on_the_cpu_is_there() -> None:
    loss = torch.tensor(1.5)
    assert on_its_way(loss)() is loss


def test_a_loss_is_on_its_way_before_the_next_step(
    faces: FaceData, cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[str] = []

    def fetch(value: torch.Tensor) -> Callable[[], torch.Tensor]:
        number = len(did)
        did.append(f"start {number}")

        def wait() -> torch.Tensor:
            did.append(f"wait {number}")
            return value

        return wait

    monkeypatch.setattr(module_module, "on_its_way", fetch)
    made = module(faces, cpu)
    for number, rows in enumerate(list(made.train_dataloader())[:2]):
        step(made, rows, number)
    assert did == ["start 0", "wait 0", "start 2"]
