from dataclasses import replace
from pathlib import Path

import pytest
from affect_training.cli.export import export
from affect_training.config import run_config
from affect_training.run import Run
from click.testing import CliRunner, Result
from support.tiny import TINY, install_tiny, tiny_faces, write_fer2013

from affect.errors import AffectError, SettingsError
from affect.inference.checkpoint import load_sidecar, sidecar_path
from affect.inference.device import Device
from affect.labels import STATES
from affect.settings.fit import LearnerFit


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    install_tiny(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AFFECT_FER2013", raising=False)
    return write_fer2013(tmp_path / "fer2013.csv", tiny_faces())


@pytest.fixture
def run(data: Path, tmp_path: Path, cpu: Device) -> Path:
    from affect_training.data import load_faces

    made = Run(tmp_path / "run", TINY, run_config(TINY), load_faces(data), cpu)
    made.fit(lambda _: None)
    return made.folder


def call(*arguments: object, error: str = "") -> Result:
    """Run the command; with `error` it must fail with that in its message."""
    result = CliRunner().invoke(export, [str(a) for a in arguments])
    if error:
        assert isinstance(result.exception, AffectError | SystemExit), result.output
        assert error in str(getattr(result.exception, "message", result.output))
    else:
        assert result.exit_code == 0, result.output + str(result.exception)
    return result


def test_a_run_becomes_weights_then_onnx_then_int8(run: Path, data: Path, tmp_path: Path) -> None:
    said = call(run, "-o", tmp_path / "net.onnx", "--int8", "--data", data, "--about", "bars", "--device", "cpu").output
    assert sorted(path.name for path in tmp_path.glob("net*")) == [
        "net.int8.onnx",
        "net.json",
        "net.onnx",
        "net.publictest.safetensors",
        "net.safetensors",
    ]
    assert load_sidecar(tmp_path / "net.safetensors").data == "bars"
    assert "recall_disgust" in said
    assert "21 faces" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(("float32", "int8"))]
    assert [row[1] for row in rows] == ["accuracy", "accuracy"]


def test_weights_become_onnx_without_any_data(run: Path, data: Path, tmp_path: Path) -> None:
    call(run, "-o", tmp_path / "net.safetensors", "--data", data)
    said = call(tmp_path / "net.safetensors", "-o", tmp_path / "other.onnx").output
    assert "64 patches of a photograph" in said
    assert (tmp_path / "other.onnx").exists()


def test_a_learner_fit_that_an_export_drops_is_told(run: Path, data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    assert "learner fit" not in call(run, "-o", weights, "--data", data).output
    fit = LearnerFit(
        backend="net",
        weights_sha256=load_sidecar(weights).weights_sha256,
        emission=dict.fromkeys(STATES, (1 / 7,) * 7),
        emission_prior=1.0,
        data="",
        data_sha256="0",
        faces=1,
        people=1,
    )
    for sha256, kept in ((load_sidecar(weights).weights_sha256, True), ("0" * 64, False)):
        changed = load_sidecar(weights).model_copy(update={"learner": fit, "weights_sha256": sha256})
        sidecar_path(weights).write_text(changed.model_dump_json())
        said = call(run, "-o", weights, "--data", data).output
        assert ("run `affect-train learner fit` again" in said) != kept
        assert (load_sidecar(weights).learner == fit) == kept


def test_the_configured_weights_are_what_is_exported(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECT_PLUGINS__CNN__WEIGHTS", str(tmp_path / "gone.safetensors"))
    call("cnn", "-o", tmp_path / "net.onnx", error="gone.safetensors")


def test_what_does_not_go_together_is_refused(data: Path, tmp_path: Path) -> None:
    call("cnn", "-o", tmp_path / "net.pt", error="expected NAME.safetensors or NAME.onnx")
    call("cnn", "-o", tmp_path / "net.safetensors", "--int8", error="--int8 goes with NAME.onnx")
    call("cnn", "-o", tmp_path / "net.safetensors", error="exported already")
    call("cnn", "-o", tmp_path / "net.onnx", "--int8", error="name the data")
    call("cmn", "-o", tmp_path / "net.onnx", error="did you mean 'cnn'")
    call(tmp_path / "gone.safetensors", "-o", tmp_path / "net.onnx", error="no such weights file")
    (tmp_path / "empty").mkdir()
    call(tmp_path / "empty", "-o", tmp_path / "net.onnx", "--data", data, error="not the folder of a run")
    assert not list(tmp_path.glob("net*"))


def test_a_backend_without_weights_cannot_be_exported(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no weights file of its own"):
        CliRunner().invoke(export, ["template-mirror", "-o", "x.onnx"], catch_exceptions=False)


def test_a_run_that_held_faces_out_becomes_onnx_and_int8(data: Path, tmp_path: Path, cpu: Device) -> None:
    from affect_training.data import load_faces

    faces = load_faces(data)
    alone = write_fer2013(tmp_path / "mine.csv", replace(faces, splits={"Training": faces.split("Training")}))
    config = run_config(TINY, {"data": {"holdout": 0.25}})
    Run(tmp_path / "run", TINY, config, load_faces(alone), cpu).fit(lambda _: None)
    said = call(tmp_path / "run", "-o", tmp_path / "net.onnx", "--int8", "--data", alone, "--about", "bars").output
    assert "n=14" in said.split("int8")[1]
    again = ("-o", tmp_path / "other.onnx", "--int8", "--data", alone)
    call(tmp_path / "net.safetensors", *again, error="--holdout")
    assert "n=14" in call(tmp_path / "net.safetensors", *again, "--holdout", "0.25").output.split("int8")[1]
