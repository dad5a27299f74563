import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_cnn.plugin import WEIGHTS
from affect_training.cli.evaluate import evaluate
from affect_training.config import run_config
from affect_training.data import load_faces
from affect_training.evaluation import tta as views
from affect_training.evaluation.tta import KINDS
from affect_training.export.weights import export
from affect_training.held_out import check_holdout
from affect_training.run import Run
from click.testing import CliRunner, Result
from support.tiny import TINY, install_tiny, tiny_faces, write_fer2013

import affect.pictures
from affect.errors import AffectError, BackendError, MediaError, PluginError, SettingsError
from affect.inference.checkpoint import load_sidecar
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.plugins import PluginHost
from affect.testing import FakeBackend


def write_csv(path: Path, usages: list[str]) -> Path:
    """Write faces whose mean grey tells their label; every seventh is labelled otherwise."""
    lines = ["emotion,pixels,Usage"]
    for k, usage in enumerate(usages):
        face = np.full((48, 48), int((k % 7 + 0.5) / 7 * 255))
        face[::2] += 8
        face[1::2] -= 8
        label = (k + 1) % 7 if k % 7 == 6 else k % 7
        lines.append(f"{label},{' '.join(map(str, face.ravel()))},{usage}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache goes to the folder the command runs in; `fake` and `worse` are backends beside the installed ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AFFECT_FER2013", raising=False)
    installed = affect.pictures.load_backend

    def load(name: str, *, device: str) -> FaceClassifier:
        if name not in ("fake", "worse"):
            return installed(name, device=device)
        backend = FakeBackend()
        if name == "worse":
            answer = backend.predict
            backend.predict = lambda faces: answer(faces * 0.5)  # type: ignore[method-assign]
        return FaceClassifier(backend, Device(device, "float32"))

    monkeypatch.setattr(affect.pictures, "load_backend", load)


@pytest.fixture
def held_back(tmp_path: Path) -> Path:
    """A file with rows of PrivateTest only."""
    return write_csv(tmp_path / "held.csv", ["PrivateTest"] * 28)


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(
        evaluate, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False, env={"COLUMNS": "150"}
    )
    assert result.exit_code == 0, result.output
    return result


def figures(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("tta", KINDS)
def test_a_file_of_one_split_is_enough(held_back: Path, tmp_path: Path, tta: str) -> None:
    out = tmp_path / "new" / "out.json"
    result = call("fake", "--data", held_back, "--split", "PrivateTest", "--tta", tta, "--json", out)
    found = figures(out)
    assert (found["backend"], found["split"], found["tta"], found["n"]) == ("fake", "PrivateTest", tta, 28)
    assert found["accuracy"] == pytest.approx(24 / 28)
    assert found["accuracy_ci95"][0] < 24 / 28 < found["accuracy_ci95"][1]
    assert np.trace(found["confusion"]) == 24
    assert len(found["data_sha256"]) == 64
    assert (found["weights_sha256"], found["fingerprint"], found["limit"]) == (None, None, None)
    assert (found["single_view"] is None) == (tta == "none")
    assert "0.8571" in result.output
    assert "surprise" in result.output


def test_figures_are_printed_without_a_file(held_back: Path, tmp_path: Path) -> None:
    call("fake", "--data", held_back, "--split", "PrivateTest")
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("split", ["Training", "PublicTest"])
def test_a_split_the_data_lacks_is_an_error_by_name(held_back: Path, split: str) -> None:
    with pytest.raises(MediaError, match=f"no split '{split}'; it has PrivateTest"):
        call("fake", "--data", held_back, "--split", split)


def test_two_models_are_tested_against_each_other(held_back: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = call("fake", "--data", held_back, "--split", "PrivateTest", "--against", "worse", "--json", out)
    found = figures(out)["against"]
    assert (found["backend"], found["weights_sha256"]) == ("worse", None)
    # Half as bright, only every seventh label is met: 0 by the first face, and the mislabelled last one.
    assert (found["only_first"], found["only_second"]) == (20, 0)
    assert found["p"] < 1e-4
    assert "McNemar" in result.output


def test_robustness_is_measured_when_asked_for(held_back: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = call("fake", "--data", held_back, "--split", "PrivateTest", "--robustness", "--json", out)
    found = figures(out)["robustness"]
    assert found["n"] == 28
    assert found["clean"]["accuracy"] == pytest.approx(24 / 28)
    assert len(found["curves"]["noise"]["points"]) == 5
    assert "low contrast" in result.output


def test_a_limit_scores_some_of_the_faces(held_back: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    call("fake", "--data", held_back, "--split", "PrivateTest", "--limit", "10", "--json", out)
    assert (figures(out)["n"], figures(out)["limit"]) == (10, 10)
    call("fake", "--data", held_back, "--split", "PrivateTest", "--limit", "28", "--json", out)
    assert (figures(out)["n"], figures(out)["limit"]) == (28, None)


def test_on_the_split_of_the_calibration_figures_are_cross_fitted_and_say_so(tmp_path: Path) -> None:
    data, out = write_csv(tmp_path / "fer2013.csv", ["PublicTest"] * 28), tmp_path / "out.json"
    result = call("fake", "--data", data, "--json", out)
    found = figures(out)
    assert f"{found['ece_cross_fitted']:.4f}" in result.output
    assert "ECE, cross-fitted" in result.output
    assert "fitted here" in result.output
    assert found["class_reliability"]["fear"]["guessed"] == 4


def test_on_other_data_the_served_calibration_is_judged(tmp_path: Path) -> None:
    data, out = write_csv(tmp_path / "mine.csv", ["PublicTest"] * 28), tmp_path / "out.json"
    result = call("fake", "--data", data, "--json", out)
    assert (figures(out)["data"], figures(out)["ece_cross_fitted"]) == ("mine.csv", None)
    assert "fitted here" not in result.output


def test_a_file_that_cannot_be_written_is_told_before_the_work(held_back: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        call("unheard-of", "--data", held_back, "--split", "PrivateTest", "--json", tmp_path)


def test_groups_of_data_without_groups_are_an_error(held_back: Path) -> None:
    with pytest.raises(MediaError, match=r"held\.csv names no groups"):
        call("fake", "--data", held_back, "--split", "PrivateTest", "--groups")


def test_a_backend_without_gradient_cannot_be_attacked(held_back: Path) -> None:
    with pytest.raises(BackendError, match="TorchBackend"):
        call("fake", "--data", held_back, "--split", "PrivateTest", "--adversarial")


@pytest.mark.parametrize("backend", ["cnn", str(WEIGHTS)])
def test_the_bundled_network_by_name_and_by_path(held_back: Path, tmp_path: Path, backend: str) -> None:
    out = tmp_path / "out.json"
    more = [] if backend == "cnn" else ["--adversarial"]
    call(backend, "--data", held_back, "--split", "PrivateTest", "--limit", "7", "--json", out, *more)
    found = figures(out)
    assert (found["backend"], found["n"]) == (backend, 7)
    assert found["temperature"] == load_sidecar(WEIGHTS).temperature
    assert found["weights_sha256"] == load_sidecar(WEIGHTS).weights_sha256
    assert ("adversarial" in found) == bool(more)
    if more:
        assert {attack["attack"] for attack in found["adversarial"]["attacks"]} == {"fgsm", "pgd"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["fake"], SettingsError, "--data"),
        (["fake", "--data", "nowhere.csv"], SettingsError, "nowhere.csv"),
        (["unheard-of", "--data", "held.csv", "--split", "PrivateTest"], PluginError, "unheard-of"),
    ],
)
def test_what_is_not_there_is_named(
    held_back: Path, arguments: list[str], error: type[AffectError], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(*arguments)


@pytest.mark.parametrize(("option", "value"), [("--split", "Testing"), ("--tta", "flip"), ("--limit", "0")])
def test_values_outside_the_contract_are_usage_errors(held_back: Path, option: str, value: str) -> None:
    result = CliRunner().invoke(evaluate, ["fake", "--data", str(held_back), option, value])
    assert result.exit_code == 2
    assert value in result.output


def test_groups_are_told_apart(tmp_path: Path) -> None:
    data, out = write_csv(tmp_path / "held.csv", ["PrivateTest"] * 28), tmp_path / "out.json"
    header, *rows = data.read_text("utf-8").splitlines()
    named = [f"{row},{('left', 'right', '')[k % 3]}" for k, row in enumerate(rows)]
    data.write_text("\n".join([f"{header},group", *named]) + "\n", encoding="utf-8")
    said = call("fake", "--data", data, "--split", "PrivateTest", "--groups", "--json", out).output
    found = figures(out)["groups"]
    assert [(group["group"], group["n"]) for group in found["groups"]] == [("left", 10), ("right", 9)]
    assert found["without"] == 9
    for word in ("left", "right", "gap", "9 faces name no group"):
        assert word in said


def test_what_cannot_be_done_is_refused_before_the_work(held_back: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "predict_views", lambda *_: pytest.fail("asked"))
    with pytest.raises(BackendError, match="TorchBackend"):
        call("fake", "--data", held_back, "--split", "PrivateTest", "--adversarial")
    with pytest.raises(PluginError, match="unheard-of"):
        call("fake", "--data", held_back, "--split", "PrivateTest", "--against", "unheard-of")


def test_nobody_is_judged_on_faces_it_was_trained_on(
    tmp_path: Path, cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_tiny(monkeypatch)
    whole = tiny_faces()
    data = write_fer2013(tmp_path / "mine.csv", replace(whole, splits={"Training": whole.split("Training")}))
    config = run_config(TINY, {"data": {"holdout": 0.25}, "train": {"epochs": 1}})
    run = Run(tmp_path / "run", TINY, config, load_faces(data), cpu)
    run.fit(lambda _: None)
    weights = tmp_path / "w.safetensors"
    export(run, weights, data="bars")
    vote = tmp_path / "vote.json"
    vote.write_text(json.dumps({"members": [{"file": weights.name}]}))
    call(weights, "--data", data, "--holdout", "0.25")
    for names in ([weights], ["fake", "--against", weights], [vote]):
        with pytest.raises(SettingsError, match=r"w\.safetensors was trained with data\.holdout=0\.25"):
            call(*names, "--data", data, "--holdout", "0.5")
    check_holdout([str(weights)], PluginHost(), run.data.sha256, 0.5, "PrivateTest")  # holdout leaves that alone


def test_a_held_out_share_stands_for_publictest(tmp_path: Path) -> None:
    data, out = write_csv(tmp_path / "train.csv", ["Training"] * 28), tmp_path / "out.json"
    call("fake", "--data", data, "--holdout", "0.25", "--json", out)
    assert (figures(out)["n"], figures(out)["holdout"]) == (7, 0.25)
    with pytest.raises(MediaError, match=r"--holdout 0\.1"):
        call("fake", "--data", data)
