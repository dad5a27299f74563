"""A finished run of the tiny recipe, and one ONNX file for all tests, as torch's exporter takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from affect_training.config import run_config
from affect_training.export.onnx import export_onnx
from affect_training.export.weights import export
from affect_training.run import Run
from support.tiny import TINY, Exported, install_tiny, tiny_faces

from affect.inference.device import Device


@pytest.fixture(autouse=True)
def _tiny_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)


@pytest.fixture
def tiny_run(tmp_path: Path) -> Run:
    return train(tmp_path / "run")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_tiny(monkeypatch)
        run = train(folder / "run")
        weights = folder / "tiny.safetensors"
        sidecar = export(run, weights)
        yield Exported(run, weights, sidecar, export_onnx(weights, folder / "tiny.onnx", run.validation.images))


def train(folder: Path) -> Run:
    """Train the tiny recipe to its end."""
    made = Run(folder, TINY, run_config(TINY), tiny_faces(), Device("cpu", "float32"))
    made.fit(lambda _: None)
    return made
