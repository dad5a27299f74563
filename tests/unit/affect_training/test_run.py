import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from affect_training import module, run
from affect_training.evaluation import metrics
from affect_training.predict import predict_logits
from affect_training.run import Run, open_run
from affect_training.storage import read_checkpoint, save_tensors
from support.runs import RESULTS, Weights, differing, log, quiet, weights, write_aux
from support.tiny import TINY, TINY_HEADS, TinyHeads, install_tiny, tiny_faces, tiny_split
from torch import nn

from affect.errors import CheckpointError, MediaError, SettingsError
from affect.inference.device import Device

from .conftest import Start


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


def test_to_stop_after_no_epochs_is_to_do_nothing(start: Start) -> None:
    one = start()
    one.fit(quiet, stop_after=0)
    assert not one.folder.exists()


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


def test_the_best_epoch_is_that_of_its_weights(start: Start) -> None:
    one = start()
    one.fit(quiet)
    saved = read_checkpoint(one.folder / "best.ckpt", "network")
    assert saved["epoch"] == one.state.best_epoch
    save_tensors({**saved, "epoch": 9}, one.folder / "best.ckpt")  # killed before last.ckpt was written
    one.best()
    assert one.state.best_epoch == 9


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


def test_a_folder_without_a_run_is_not_opened(tmp_path: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match="not the folder of a run"):
        open_run(tmp_path, tiny_faces(), cpu)


def test_a_run_of_a_version_with_other_settings_is_named_as_such(cpu: Device) -> None:
    with pytest.raises(CheckpointError, match=r"nguyen2017: a run of another version of affect-train \(train.mirror: "):
        open_run(RESULTS / "nguyen2017", tiny_faces(), cpu)
