import math
from typing import Any

import pytest
import torch
from affect_training.config import TrainConfig
from affect_training.optim import build_optimizer, build_plateau, build_step_schedule
from support.tiny import TinyHeads
from torch import nn

from affect.errors import SettingsError


def table(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "batch_size": 1, "lr": 0.1, **changes})


def by_name(model: nn.Module, optimizer: torch.optim.Optimizer, key: str) -> dict[str, float]:
    found = {id(p): group[key] for group in optimizer.param_groups for p in group["params"]}
    return {name: found[id(p)] for name, p in model.named_parameters() if id(p) in found}


# Optimisers


def test_only_kernels_decay_and_twice_as_keras_counts() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 7))
    decay = by_name(model, build_optimizer(model, table(l2_kernels=1e-3, weight_decay=1e-4)), "weight_decay")
    assert decay == pytest.approx(
        {"0.weight": 2.1e-3, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 2.1e-3, "3.bias": 0}
    )


def test_the_penalty_is_that_of_keras() -> None:
    # Keras adds alpha * sum(w^2) to the loss: without any other gradient, w becomes w - lr * 2 alpha w.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = build_optimizer(model, table(momentum=0, nesterov=False, l2_kernels=0.5))
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert float(model.weight.detach()) == pytest.approx(1 - 0.1 * 2 * 0.5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("radam", torch.optim.RAdam)],
)
def test_optimizers_by_name(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), table(optimizer=name))
    assert type(optimizer) is kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_sgd_is_nesterovs_unless_told_otherwise() -> None:
    sgd = build_optimizer(nn.Linear(2, 2), table())
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    plain = build_optimizer(nn.Linear(2, 2), table(momentum=0.0, nesterov=False))
    assert (plain.defaults["momentum"], plain.defaults["nesterov"]) == (0, False)


def test_the_body_learns_slower_than_the_head() -> None:
    model = TinyHeads()
    rates = by_name(model, build_optimizer(model, table(body_lr_factor=0.1)), "lr")
    assert rates == {name: 0.1 if name.startswith("head.") else 0.1 * 0.1 for name, _ in model.named_parameters()}


def test_the_first_group_is_the_heads_whose_rate_is_logged() -> None:
    assert build_optimizer(TinyHeads(), table(body_lr_factor=0.1)).param_groups[0]["lr"] == 0.1


def test_what_needs_no_gradient_is_left_out() -> None:
    model = TinyHeads()
    model.body.requires_grad_(False)
    assert set(by_name(model, build_optimizer(model, table()), "lr")) == {"head.weight", "head.bias"}


def test_a_body_that_does_not_learn_is_left_out() -> None:
    model = TinyHeads()
    assert set(by_name(model, build_optimizer(model, table(body_lr_factor=0)), "lr")) == {"head.weight", "head.bias"}


def test_a_network_without_head_has_no_body() -> None:
    with pytest.raises(SettingsError, match=r"body_lr_factor: Linear names no `head`"):
        build_optimizer(nn.Linear(2, 2), table(body_lr_factor=0.5))


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(SettingsError, match="every parameter is frozen"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), table())


# Schedules


def rates(steps: int, **changes: Any) -> list[float]:
    config = table(**changes)
    optimizer = build_optimizer(nn.Linear(2, 2), config)
    schedule = build_step_schedule(optimizer, config, steps // config.epochs)
    assert schedule is not None
    seen = []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return seen


def test_cosine_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    found = rates(20, epochs=4, schedule="cosine", warmup=0.2)
    assert found[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert found[4:] == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 16)) for k in range(16)])


def test_cosine_without_warmup_begins_at_the_top() -> None:
    assert rates(10, schedule="cosine")[:2] == [0.1, 0.1]
    assert rates(10, schedule="cosine")[9] < 0.005


def test_onecycle_rises_and_falls() -> None:
    found = rates(100, epochs=5, schedule="onecycle", warmup=0.2)
    top = found.index(max(found))
    assert top == 19
    assert found[top] == pytest.approx(0.1)
    assert found[0] == pytest.approx(0.1 / 25)
    assert found[-1] < 1e-5
    assert found[:20] == sorted(found[:20])
    assert found[19:] == sorted(found[19:], reverse=True)


def test_onecycle_rises_when_nothing_is_said() -> None:
    found = rates(100, schedule="onecycle")
    assert found.index(max(found)) == 29


def test_onecycle_without_warmup_begins_at_the_top() -> None:
    found = rates(100, schedule="onecycle", warmup=0.0)
    assert found[0] == pytest.approx(0.1, rel=0.01)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 20])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.1, 0.2, 0.25, 0.5])
def test_onecycle_of_a_few_steps_is_one_too(steps: int, warmup: float) -> None:
    found = rates(steps, schedule="onecycle", warmup=warmup)
    assert all(0 <= rate <= 0.1 + 1e-9 for rate in found)


def test_every_group_keeps_its_share_of_the_rate() -> None:
    config = table(schedule="onecycle", body_lr_factor=0.1)
    optimizer = build_optimizer(TinyHeads(), config)
    schedule = build_step_schedule(optimizer, config, 50)
    assert schedule is not None
    for _ in range(20):
        optimizer.step()
        schedule.step()
    seen = {round(float(group["lr"]), 9) for group in optimizer.param_groups}
    assert len(seen) == 2
    assert min(seen) == pytest.approx(0.1 * max(seen))


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_the_others_do_not_move_with_the_step(schedule: str) -> None:
    config = table(schedule=schedule)
    assert build_step_schedule(build_optimizer(nn.Linear(2, 2), config), config, 5) is None


def test_the_plateau_schedule_cuts_when_keras_does() -> None:
    config = table(schedule="plateau", plateau_epochs=3, plateau_factor=0.2)
    optimizer = build_optimizer(nn.Linear(2, 2), config)
    plateau = build_plateau(optimizer, config)
    assert plateau is not None
    seen = []
    for loss in (1.0, 1.0, 1.0, 1.0, 0.9, 0.95, 0.9, 0.9, 0.9):
        plateau.step(loss)
        seen.append(round(float(optimizer.param_groups[0]["lr"]), 6))
    assert seen == [0.1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02, 0.004, 0.004]


def test_the_others_do_not_wait_for_the_loss() -> None:
    config = table(schedule="cosine")
    assert build_plateau(build_optimizer(nn.Linear(2, 2), config), config) is None
