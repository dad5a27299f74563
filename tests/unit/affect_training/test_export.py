import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training import metrics
from affect_training.config import RunConfig
from affect_training.data import Fer2013
from affect_training.export import export
from affect_training.train import Run, build_model, predict_logits
from safetensors.numpy import load_file

from affect.inference.classify import classify
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend
from affect.vision.geometry import FER2013_CROP


def quiet(_: str) -> None:
    """Report to nobody."""


@pytest.fixture
def run(architecture: str, config: RunConfig, faces: Fer2013, cpu: Device, tmp_path: Path) -> Run:
    made = Run(tmp_path / "run", architecture, config, faces, cpu)
    made.fit(quiet)
    return made


def test_what_was_trained_can_be_served(run: Run, architecture: str, cpu: Device, tmp_path: Path) -> None:
    weights = tmp_path / "out" / "tiny.safetensors"
    sidecar = export(run, weights)
    backend = TorchBackend(lambda: build_model(architecture, {}), weights, cpu)
    assert backend.sidecar == sidecar
    split = run.validation
    crops = torch.from_numpy(split.images).float().unsqueeze(1) / 255
    rows = np.stack([row for row in classify(backend, crops) if isinstance(row, np.ndarray)])
    predictions: dict[str, Any] = load_file(weights.with_name("tiny.publictest.safetensors"))
    # The service answers what the export measured: same crop, normalisation, weights and temperature.
    np.testing.assert_allclose(rows, predictions["probabilities"].astype(np.float32), atol=2e-3)
    assert predictions["labels"].tolist() == split.labels.tolist()
    accuracy = float((rows.argmax(1) == split.labels).mean())
    assert sidecar.metrics["accuracy"].value == pytest.approx(accuracy, abs=1e-5)


def test_the_sidecar_tells_how_the_weights_came_to_be(run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    sidecar = export(run, weights)
    assert sidecar.architecture == "affect_tiny:Tiny"
    assert sidecar.parameters == sum(p.numel() for p in run.model.parameters())
    assert sidecar.input.crop == FER2013_CROP
    assert sidecar.input.size == 48
    pixels = run.training.images / 255
    assert sidecar.input.mean[0] == pytest.approx(pixels.mean(), abs=1e-5)
    assert sidecar.input.std[0] == pytest.approx(pixels.std(), abs=1e-5)
    assert sidecar.training["best_epoch"] == run.state.best_accuracy_epoch
    assert sidecar.training["epochs"] == 3
    assert sidecar.training["config"]["train"]["seed"] == 5
    assert sidecar.predictions == "tiny.publictest.safetensors"
    assert "PublicTest" in sidecar.data
    names = {"accuracy", "macro_f1", "nll", "ece", "ece_uncalibrated"}
    assert {name: metric.n for name, metric in sidecar.metrics.items()} == dict.fromkeys(names, 21)
    assert {metric.split for metric in sidecar.metrics.values()} == {"PublicTest"}
    assert json.loads(weights.with_suffix(".json").read_text("utf-8"))["architecture"] == "affect_tiny:Tiny"


def test_the_temperature_is_that_of_all_validation_faces_and_its_figures_are_cross_fitted(
    run: Run, tmp_path: Path
) -> None:
    sidecar = export(run, tmp_path / "tiny.safetensors")
    stored = run.best()
    stored.load_state_dict({k: v.half().float() for k, v in stored.state_dict().items()})
    logits = predict_logits(stored, run.validation, run.normalise, run.device)
    labels = run.validation.labels
    assert sidecar.temperature == pytest.approx(metrics.fit_temperature(logits, labels), abs=1e-4)
    halves = [
        -np.log(metrics.softmax(logits[mine::2], metrics.fit_temperature(logits[other::2], labels[other::2])))[
            np.arange(len(labels[mine::2])), labels[mine::2]
        ]
        for mine, other in ((0, 1), (1, 0))
    ]
    assert sidecar.metrics["nll"].value == pytest.approx(np.concatenate(halves).mean(), abs=1e-5)


def test_the_best_epoch_is_exported_not_the_last(
    architecture: str,
    config: RunConfig,
    faces: Fer2013,
    cpu: Device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        accuracies = iter([0.9, 0.1, 0.1])
        patched.setattr(metrics, "accuracy", lambda *_: next(accuracies))
        made = Run(tmp_path / "run", architecture, config, faces, cpu)
        snapshots: list[torch.Tensor] = []
        made.fit(lambda _: snapshots.append(made.model.state_dict()["out.bias"].clone()))
    export(made, tmp_path / "tiny.safetensors")
    stored = TorchBackend(lambda: build_model(architecture, {}), tmp_path / "tiny.safetensors", cpu)
    assert torch.equal(stored.model.state_dict()["out.bias"], snapshots[0].half().float())
    assert not torch.equal(snapshots[0], snapshots[2])
