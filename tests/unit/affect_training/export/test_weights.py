import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training.config import DataConfig, RunConfig, TrainConfig
from affect_training.data import FaceData
from affect_training.evaluation import calibration, metrics
from affect_training.export.weights import data_of, export, exported_sha256, licence_of, store_as
from affect_training.predict import predict_logits
from affect_training.run import Run
from affect_training.run_record import DataSet
from safetensors.numpy import load_file
from support.tiny import Tiny

from affect.errors import MediaError, SettingsError
from affect.inference.classify import classify
from affect.inference.device import Device
from affect.labels import EMOTIONS
from affect.pictures import load_backend
from affect.plugins import PluginHost
from affect.vision.geometry import FER2013_CROP


def test_what_was_trained_can_be_served_from_its_path(tiny_run: Run, cpu: Device, tmp_path: Path) -> None:
    weights = tmp_path / "out" / "tiny.safetensors"
    sidecar = export(tiny_run, weights)
    backend = PluginHost().create_backend(str(weights), cpu)
    split = tiny_run.validation
    crops = torch.from_numpy(split.images).float().unsqueeze(1) / 255
    rows = np.stack([row for row in classify(backend, crops) if isinstance(row, np.ndarray)])
    predictions: dict[str, Any] = load_file(weights.with_name("tiny.publictest.safetensors"))
    # The service answers what the export measured: same crop, normalisation, weights and temperature.
    np.testing.assert_allclose(rows, predictions["probabilities"].astype(np.float32), atol=2e-3)
    assert predictions["labels"].tolist() == split.labels.tolist()
    assert sidecar.metrics["accuracy"].value == pytest.approx(float((rows.argmax(1) == split.labels).mean()), abs=1e-5)
    by_path = load_backend(weights, device="cpu").probabilities(list(split.images))
    assert (by_path.argmax(1) == rows.argmax(1)).all()


def test_the_sidecar_tells_how_the_weights_came_to_be(tiny_run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    sidecar = export(tiny_run, weights)
    assert sidecar.architecture == "affect_tiny:Tiny"
    assert sidecar.arguments == {"width": 4, "dropout": 0.3}
    assert sidecar.parameters == sum(p.numel() for p in tiny_run.model.parameters())
    assert sidecar.input.crop == FER2013_CROP
    assert sidecar.input.size == 48
    pixels = tiny_run.training.images / 255
    assert sidecar.input.mean[0] == pytest.approx(pixels.mean(), abs=1e-5)
    assert sidecar.input.std[0] == pytest.approx(pixels.std(), abs=1e-5)
    assert sidecar.training["best_epoch"] == tiny_run.state.best_epoch
    assert sidecar.training["epochs"] == 3
    assert sidecar.training["config"]["train"]["seed"] == 5
    assert sidecar.training["data_sha256"] == "0" * 64
    assert sidecar.predictions == "tiny.publictest.safetensors"
    assert "PublicTest" in sidecar.data
    assert {metric.split for metric in sidecar.metrics.values()} == {"PublicTest"}
    assert json.loads(weights.with_suffix(".json").read_text("utf-8"))["arguments"]["width"] == 4


def test_figures_are_of_the_stored_weights_with_intervals(tiny_run: Run, tmp_path: Path) -> None:
    figures = export(tiny_run, tmp_path / "tiny.safetensors").metrics
    stored = tiny_run.best()
    store_as(stored)
    logits = predict_logits(stored, tiny_run.validation, tiny_run.normalise, tiny_run.device)
    labels = tiny_run.validation.labels
    right = logits.argmax(1) == labels
    assert figures["accuracy"].value == pytest.approx(right.mean(), abs=1e-5)
    low, high = figures["accuracy"].ci95 or (1.0, 0.0)
    assert low <= figures["accuracy"].value <= high
    recalls = [figures[f"recall_{emotion.value}"] for emotion in EMOTIONS]
    assert [metric.n for metric in recalls] == [3] * 7
    for k, metric in enumerate(recalls):
        assert metric.value == pytest.approx(right[labels == k].mean(), abs=1e-5)
        assert metric.ci95 is not None
    assert figures["macro_recall"].value == pytest.approx(np.mean([m.value for m in recalls]), abs=1e-5)


def test_the_calibration_is_that_of_all_validation_faces_and_its_figures_are_not_of_the_faces_it_saw(
    tiny_run: Run, tmp_path: Path
) -> None:
    sidecar = export(tiny_run, tmp_path / "tiny.safetensors")
    stored = tiny_run.best()
    store_as(stored)
    logits = predict_logits(stored, tiny_run.validation, tiny_run.normalise, tiny_run.device)
    labels = tiny_run.validation.labels
    fitted = calibration.fit_calibration(logits, labels)
    assert (sidecar.temperature, sidecar.power) == pytest.approx((fitted.temperature, fitted.power), abs=1e-4)

    def scaled(mine: int, other: int) -> metrics.Floats:
        fitted = calibration.fit_calibration(logits[other::2], labels[other::2])
        return calibration.calibrated(logits[mine::2], fitted)

    halves = [(scaled(0, 1), labels[0::2]), (scaled(1, 0), labels[1::2])]
    crossed = np.concatenate([-np.log(p[np.arange(len(y)), y]) for p, y in halves]).mean()
    assert sidecar.metrics["nll"].value == pytest.approx(crossed, abs=1e-5)
    assert sidecar.metrics["ece_half"].value == pytest.approx(metrics.ece(*halves[1]), abs=1e-5)
    assert sidecar.metrics["nll_half"].value == pytest.approx(metrics.nll(*halves[1]), abs=1e-5)
    assert sidecar.metrics["ece_half"].n == 10


def test_a_run_is_not_exported_with_other_data(tiny_run: Run, tmp_path: Path) -> None:
    tiny_run.data = FaceData(tiny_run.data.splits, tiny_run.data.blank, "f" * 64)
    with pytest.raises(MediaError, match="ffffffff"):
        export(tiny_run, tmp_path / "tiny.safetensors")
    assert not (tmp_path / "tiny.safetensors").exists()


def test_weights_that_float16_cannot_hold_are_stored_as_float32() -> None:
    model = Tiny()
    assert store_as(model) == torch.float16
    model.load_state_dict({**model.state_dict(), "norm.running_var": torch.full((4,), 123_456.0)})
    assert store_as(model) == torch.float32
    assert model.state_dict()["norm.running_var"].tolist() == [123_456.0] * 4


def test_data_and_licence_name_what_came_from_elsewhere() -> None:
    train = TrainConfig(epochs=1, batch_size=1, lr=0.1)
    plain = RunConfig(recipe="tiny", train=train)
    assert data_of(plain, None) == data_of(plain.model_copy(update={"model": {"width": 8}}), DataSet(kind="icml"))
    assert "terms of their own" not in licence_of(plain, None)
    unheard = plain.model_copy(update={"data": DataConfig(votes=True)})
    assert "FER+" not in data_of(unheard, None)  # read, and of no weight in the loss
    teacher = ("/home/someone/big.safetensors", "cnn")
    taught = train.model_copy(update={"teacher": teacher, "votes_weight": 0.4})
    rich = RunConfig(
        recipe="tiny", init="face-api:/home/someone/net", data=DataConfig(votes=True, aux=("kdef",)), train=taught
    )
    assert "/home" not in data_of(rich, None)
    for part in ("FER+", "kdef", "big.safetensors, cnn", "face-api:net"):
        assert part in data_of(rich, None)
    assert "auxiliary sets and the starting weights and the teachers have terms" in licence_of(rich, None)


def test_other_data_than_fer2013_are_named_and_want_words(tiny_run: Run, tmp_path: Path) -> None:
    path = tiny_run.folder / "run.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["data_set"] = {"kind": "folders", "name": "classroom", "aux": ["kdef"]}
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"trained on 'classroom', not on FER2013; .* --about TEXT"):
        export(tiny_run, tmp_path / "tiny.safetensors")
    assert not list(tmp_path.glob("tiny.*"))
    sidecar = export(tiny_run, tmp_path / "tiny.safetensors", data="pupils who agreed, CC-BY-4.0.")
    assert sidecar.data == "classroom: pupils who agreed, CC-BY-4.0."
    assert "FER2013" not in sidecar.data + sidecar.licence
    assert "the faces of classroom have terms of their own" in sidecar.licence


def test_auxiliary_sets_are_named_beside_other_data(tiny_run: Run) -> None:
    config = tiny_run.config.model_copy(update={"data": DataConfig(aux=("kdef", "jaffe"))})
    listed = DataSet(kind="list", name="list.csv", aux=["kdef", "jaffe"])
    assert data_of(config, listed, "our own") == "list.csv: our own. Auxiliary faces: kdef, jaffe."


def test_the_sum_of_an_export_is_known_before_it_is_written(tiny_run: Run, tmp_path: Path) -> None:
    model = tiny_run.best()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = exported_sha256(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert export(tiny_run, tmp_path / "tiny.safetensors").weights_sha256 == found


def test_own_words_for_data_and_licence_win(tiny_run: Run, tmp_path: Path) -> None:
    sidecar = export(tiny_run, tmp_path / "tiny.safetensors", data="bars", licence="MIT")
    assert (sidecar.data, sidecar.licence) == ("bars", "MIT")


def test_the_sidecar_does_not_tell_where_things_lay(tiny_run: Run, tmp_path: Path) -> None:
    path = tiny_run.folder / "run.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["aux"] = "/home/someone/aux"
    facts["config"]["init"] = "/home/someone/start.safetensors"
    facts["config"]["train"]["teacher"] = ["/home/someone/big.safetensors"]
    del facts["inputs_sha256"]  # as in a record of before there were such
    path.write_text(json.dumps(facts), encoding="utf-8")
    sidecar = export(tiny_run, tmp_path / "tiny.safetensors")
    assert "someone" not in sidecar.model_dump_json()
    assert sidecar.training["config"]["init"] == "start.safetensors"
    del facts["aux"]
    assert list(sidecar.training) == [*facts, "best_epoch", "epochs", "finished", "minutes", "selection"]
    assert {**sidecar.training, **facts, "config": None} == {**sidecar.training, "config": None}
