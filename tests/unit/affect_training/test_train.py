import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training import metrics
from affect_training.config import RunConfig, TrainConfig
from affect_training.data import Fer2013, Split
from affect_training.train import Normalisation, Run, build_model, build_optimizer, predict_logits
from torch import nn

from affect.errors import AffectError, MediaError
from affect.inference.device import Device


def quiet(_: str) -> None:
    """Report to nobody."""


@pytest.fixture
def start(architecture: str, config: RunConfig, faces: Fer2013, cpu: Device, tmp_path: Path) -> Any:
    """Make a run in a folder of a name; keyword arguments change `[train]`."""

    def make(name: str = "run", **changes: Any) -> Run:
        train = TrainConfig.model_validate(config.train.model_dump() | changes)
        return Run(tmp_path / name, architecture, config.model_copy(update={"train": train}), faces, cpu)

    return make


def log(run: Run) -> list[dict[str, str]]:
    with (run.folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(run: Run, file: str | None = None) -> dict[str, torch.Tensor]:
    if file is None:
        return run.model.state_dict()
    saved: dict[str, torch.Tensor] = torch.load(run.folder / file, weights_only=True)["model"]
    return saved


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


# Resuming


def test_a_run_that_was_interrupted_ends_with_the_weights_of_an_unbroken_one(start: Any) -> None:
    whole = start("whole")
    whole.fit(quiet)
    broken = start("broken")
    broken.fit(quiet, stop_after=1)
    assert broken.state.epoch == 1
    torch.rand(17)  # what happens between does not matter
    resumed = start("broken")
    assert resumed.resume()
    resumed.fit(quiet)
    assert resumed.state.epoch == whole.state.epoch == 3
    assert_same(weights(resumed), weights(whole))
    assert_same(weights(resumed, "best.pt"), weights(whole, "best.pt"))
    without_time = [[{k: v for k, v in row.items() if k != "seconds"} for row in log(run)] for run in (resumed, whole)]
    assert without_time[0] == without_time[1]
    assert [row["epoch"] for row in log(resumed)] == ["1", "2", "3"]


def test_the_seed_decides(start: Any) -> None:
    runs = [start(name, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for run in runs:
        run.fit(quiet)
    assert_same(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["out.weight"], weights(runs[2])["out.weight"])


def test_without_a_checkpoint_there_is_nothing_to_resume(start: Any) -> None:
    assert start().resume() is False


def test_a_checkpoint_of_other_settings_is_refused(start: Any) -> None:
    start(epochs=1).fit(quiet)
    with pytest.raises(AffectError, match="belongs to a run with other settings; choose another --out folder"):
        start(epochs=2).resume()


def test_a_finished_run_trains_no_further(start: Any) -> None:
    run = start(epochs=1)
    run.fit(quiet)
    before = {name: tensor.clone() for name, tensor in weights(run).items()}
    again = start(epochs=1)
    again.resume()
    assert again.finished
    again.fit(quiet)
    assert_same(weights(again), before)


def test_a_run_killed_before_its_best_network_was_saved_still_ends_with_one(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Run._save

    def killed(run: Run, path: Path) -> None:
        if path.name == "best.pt":
            raise KeyboardInterrupt
        save(run, path)

    accuracies = iter([0.9, 0.5, 0.4, 0.9, 0.5, 0.4])  # the first epoch is the best
    monkeypatch.setattr(metrics, "accuracy", lambda *_: next(accuracies))
    with monkeypatch.context() as patched:
        patched.setattr(Run, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            start().fit(quiet)
    resumed = start()
    resumed.resume()
    resumed.fit(quiet)
    assert (resumed.folder / "best.pt").exists()


# The loop


def test_it_learns(start: Any) -> None:
    run = start(epochs=12, lr=0.02)
    lines: list[str] = []
    run.fit(lines.append)
    rows = log(run)
    assert len(rows) == len(lines) == 12
    assert float(rows[-1]["train_loss"]) < 0.6 * float(rows[0]["train_loss"])
    assert run.state.best_accuracy > 0.5
    assert "epoch  12" in lines[-1]


def test_best_is_the_network_of_the_best_accuracy(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.2, 0.4, 0.3])
    monkeypatch.setattr(metrics, "accuracy", lambda *_: next(accuracies))
    run = start()
    snapshots: list[dict[str, torch.Tensor]] = []
    run.fit(lambda _: snapshots.append({k: v.clone() for k, v in run.model.state_dict().items()}))
    assert (run.state.best_accuracy, run.state.best_accuracy_epoch) == (0.4, 2)
    assert_same(dict(run.best().state_dict()), snapshots[1])


def test_there_is_a_best_network_even_when_nothing_is_right(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "accuracy", lambda *_: 0.0)
    run = start(epochs=2)
    run.fit(quiet)
    assert isinstance(run.best(), nn.Module)


def losses(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    source: Iterator[float] = iter(values)
    monkeypatch.setattr(metrics, "nll", lambda *_: next(source))


def test_on_a_plateau_the_rate_is_cut_and_then_the_run_ends(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, 2.0, 1.0, *[1.5] * 20)
    run = start(epochs=100, lr=0.08, plateau_epochs=2, plateau_factor=0.5, stop_epochs=5)
    run.fit(quiet)
    rows = log(run)
    # The best epoch is 2: cuts after 4 and 6 (each two epochs without a lower loss), the end after 7.
    assert [float(row["lr"]) for row in rows] == [0.08, 0.08, 0.08, 0.04, 0.04, 0.02, 0.02]
    assert run.state.best_loss_epoch == 2
    assert run.finished


def test_a_lower_loss_starts_the_wait_anew(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, 2.0, 2.1, 1.9, 2.1, 1.8, 2.1, 2.1)
    run = start(epochs=7, lr=0.08, plateau_epochs=2, stop_epochs=3)
    run.fit(quiet)
    assert [float(row["lr"]) for row in log(run)] == [0.08] * 6 + [0.04]


def test_a_loss_that_is_no_number_ends_the_run_with_advice(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    losses(monkeypatch, float("nan"))
    with pytest.raises(AffectError, match=r"after epoch 1; lower the lr"):
        start().fit(quiet)


def test_mirroring_turns_some_faces(start: Any) -> None:
    run = start(epochs=1, mirror=True, batch_size=64)
    seen: list[torch.Tensor] = []
    run.model.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    run.fit(quiet)
    shown = {tuple(face.flatten().tolist()) for face in seen[0]}
    plain = run.normalise(torch.from_numpy(run.training.images))
    as_they_are = sum(tuple(face.flatten().tolist()) in shown for face in plain)
    mirrored = sum(tuple(face.flip(2).flatten().tolist()) in shown for face in plain)
    assert as_they_are + mirrored == 64
    assert 15 < mirrored < 49


def test_provenance_is_written(start: Any, faces: Fer2013) -> None:
    run = start(epochs=1)
    run.fit(quiet)
    facts = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert facts["architecture"] == "affect_tiny:Tiny"
    assert facts["config"]["train"]["seed"] == 5
    assert facts["data_sha256"] == faces.sha256
    assert facts["faces"] == {"Training": 64, "PublicTest": 21}
    assert facts["git_commit"] == "abc"
    assert facts["packages"]["torch"] == torch.__version__.partition("+")[0]


def test_data_without_a_validation_split_are_refused(
    architecture: str, config: RunConfig, faces: Fer2013, cpu: Device, tmp_path: Path
) -> None:
    only = Fer2013({"Training": faces.split("Training")}, {}, "0")
    with pytest.raises(MediaError, match="no split 'PublicTest'"):
        Run(tmp_path, architecture, config, only, cpu)


# Its parts


def test_normalisation_centres_and_scales(faces: Fer2013) -> None:
    images = np.zeros((2, 48, 48), np.uint8)
    images[1] = 255
    measured = Normalisation.of(Split(images, np.zeros(2, np.int64), np.zeros(2, np.int64)))
    assert (measured.mean, measured.std) == (0.5, 0.5)
    out = measured(torch.from_numpy(images))
    assert out.shape == (2, 1, 48, 48)
    assert out[:, 0, 0, 0].tolist() == [-1.0, 1.0]
    training = faces.split("Training")
    normed = Normalisation.of(training)(torch.from_numpy(training.images))
    assert float(normed.mean()) == pytest.approx(0, abs=1e-4)
    assert float(normed.std()) == pytest.approx(1, abs=1e-4)


def test_only_kernels_decay_and_twice_as_keras_counts() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 7))
    config = TrainConfig(epochs=1, batch_size=1, lr=0.1, l2_kernels=1e-3)
    optimizer = build_optimizer(model, config)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decay[id(p)] for name, p in model.named_parameters()}
    assert found == {
        "0.weight": 2e-3, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 2e-3, "3.bias": 0,
    }  # fmt: skip


def test_the_penalty_is_that_of_keras() -> None:
    # Keras adds alpha * sum(w^2) to the loss: without any other gradient, w becomes w - lr * 2 alpha w.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    config = TrainConfig(epochs=1, batch_size=1, lr=0.1, momentum=0, nesterov=False, l2_kernels=0.5)
    optimizer = build_optimizer(model, config)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert float(model.weight.detach()) == pytest.approx(1 - 0.1 * 2 * 0.5)


def test_optimizers_by_name() -> None:
    config = TrainConfig(epochs=1, batch_size=1, lr=0.1)
    sgd = build_optimizer(nn.Linear(2, 2), config)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    adam = build_optimizer(nn.Linear(2, 2), config.model_copy(update={"optimizer": "adam"}))
    assert isinstance(adam, torch.optim.Adam)


def test_an_architecture_is_built_by_its_name() -> None:
    model = build_model("torch.nn:Linear", {"in_features": 2, "out_features": 7})
    assert isinstance(model, nn.Linear)
    assert model.out_features == 7


def test_logits_of_a_split_do_not_depend_on_the_batch_size(start: Any) -> None:
    run = start()
    one = predict_logits(run.model, run.validation, run.normalise, run.device)
    other = predict_logits(run.model, run.validation, run.normalise, run.device, batch_size=4)
    assert one.shape == (21, 7)
    assert one.dtype == np.float64
    np.testing.assert_allclose(one, other, atol=1e-5)
