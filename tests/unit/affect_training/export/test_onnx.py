import json
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import torch
from affect_training.export import onnx as onnx_export
from affect_training.export.onnx import export_onnx, faces_of, open_session, patches, run_session
from support.tiny import Exported

from affect.errors import CheckpointError
from affect.inference.checkpoint import InputSpec, sidecar_path
from affect.inference.device import Device
from affect.labels import EMOTIONS
from affect.plugins import PluginHost
from affect.vision.geometry import FER2013_CROP


def test_the_graph_says_what_torch_says_for_any_batch_size(exported: Exported) -> None:
    assert max(exported.report.random_error, exported.report.real_error) < 1e-4
    assert exported.report.real_faces == 21
    assert exported.report.size == exported.report.path.stat().st_size
    session, sidecar = open_session(exported.report.path), exported.sidecar
    backend = PluginHost().create_backend(str(exported.weights), Device("cpu", "float32"))
    for count in (1, 5, 300):
        faces = faces_of(np.resize(exported.run.validation.images, (count, 48, 48)), sidecar.input)
        expected = backend.predict(torch.from_numpy(faces)).numpy()
        np.testing.assert_allclose(run_session(session, faces), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["cnn", "compact", "resnet", "mobilenet-face"])
def test_every_network_that_ships_has_a_graph(name: str, tmp_path: Path) -> None:
    weights = PluginHost().weights_of(name)
    assert weights is not None
    report = export_onnx(weights, tmp_path / "shipped.onnx", patches(8))
    assert max(report.random_error, report.real_error) < 1e-4


def test_the_power_of_the_calibration_is_in_the_graph(exported: Exported, tmp_path: Path) -> None:
    weights = Path(copyfile(exported.weights, tmp_path / "tiny.safetensors"))
    sidecar = json.loads(sidecar_path(exported.weights).read_text())
    sidecar_path(weights).write_text(json.dumps({**sidecar, "power": 1.6, "temperature": 2.0}))
    export_onnx(weights, tmp_path / "tiny.onnx", exported.run.validation.images)
    faces = faces_of(exported.run.validation.images, exported.sidecar.input)
    backend = PluginHost().create_backend(str(weights), Device("cpu", "float32"))
    expected = backend.predict(torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(run_session(open_session(tmp_path / "tiny.onnx"), faces), expected, atol=1e-4)
    assert not np.allclose(run_session(open_session(exported.report.path), faces), expected, atol=0.1)


def test_the_file_carries_what_a_caller_must_know_and_no_paths(exported: Exported) -> None:
    session, sidecar = open_session(exported.report.path), exported.sidecar
    facts = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["affect.labels"] == [e.value for e in EMOTIONS]
    assert facts["affect.mean"] == list(sidecar.input.mean)
    assert facts["affect.std"] == list(sidecar.input.std)
    assert facts["affect.temperature"] == sidecar.temperature
    assert facts["affect.weights_sha256"] == sidecar.weights_sha256
    assert session.get_inputs()[0].shape == ["N", 1, 48, 48]
    content = exported.report.path.read_bytes()
    for place in (Path(torch.__file__).parent, Path(__file__).parent, exported.weights.parent):
        assert str(place).encode() not in content


def test_a_graph_that_says_something_else_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_write", lambda _model, _sidecar, path: copyfile(exported.report.path, path))
    honest = onnx_export.run_session
    monkeypatch.setattr(onnx_export, "run_session", lambda session, faces: honest(session, faces) + 0.01)
    with pytest.raises(CheckpointError, match=r"differ from torch's by 0\.01"):
        export_onnx(exported.weights, tmp_path / "tiny.onnx", exported.run.validation.images)
    assert not list(tmp_path.iterdir())


def test_faces_are_cropped_and_normalised_as_serving_does() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    spec = InputSpec(size=48, channels=1, mean=(0.4,), std=(0.2,), crop=FER2013_CROP)
    np.testing.assert_allclose(faces_of(images, spec)[:, 0], (images / 255 - 0.4) / 0.2, atol=1e-4)
    colour = InputSpec(size=24, channels=3, mean=(0.0, 0.1, 0.2), std=(1.0, 1.0, 1.0), crop=FER2013_CROP)
    faces = faces_of(images, colour)
    assert faces.shape == (3, 3, 24, 24)
    np.testing.assert_allclose(faces[:, 0], faces[:, 2] + 0.2, atol=1e-6)


def test_patches_of_the_photograph_are_the_same_and_differ_from_each_other() -> None:
    first = patches(8)
    assert first.shape == (8, 48, 48)
    np.testing.assert_array_equal(first, patches(8))
    assert len({patch.tobytes() for patch in first}) == 8
