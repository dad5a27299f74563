"""What is generated or promised in docs/ is what the code says: schemas, hooks, codes, settings, weights."""

import inspect
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from affect_training.cli.models import models
from affect_training.data.lists import find_list
from click.testing import CliRunner
from safetensors.numpy import load_file

from affect import hookspecs
from affect.cloudevents import EventNumbering
from affect.errors import ErrorCode
from affect.fits import backend_fit
from affect.hookspecs import hookimpl
from affect.inference.checkpoint import load_checkpoint, load_sidecar
from affect.plugins import HOOKS, PluginHost
from affect.service.protocol import CLIENT_ADAPTER, SERVER_ADAPTER, CloseCode
from affect.service.schema import documents, json_schema
from affect.settings import Settings
from affect.types import LearnerEvent

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "training" / "results"
MODELS = DOCS / "models"


@pytest.mark.parametrize(("name", "text"), documents().items())
def test_generated_documents_are_committed(name: str, text: str) -> None:
    committed = (DOCS / "protocol" / name).read_text(encoding="utf-8")
    assert committed == text, "run `python -m affect.service.schema`"


def test_schema_is_valid_and_accepts_and_refuses() -> None:
    schema = json_schema()
    validator: Any = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    good = {"type": "hello", "protocol": "affect.v1", "client": "x", "roles": ["tutor"]}
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "roles": ["teacher"]})
    assert not validator.is_valid({**good, "surprise": 1})


def test_events_fit_their_schema() -> None:
    numbering = EventNumbering("s", "cnn+hmm/0", "0" * 12)
    event = LearnerEvent("boredom", "onset", 0.4, 3.0, 1.0, None, None, {"boredom": 0.4}, None, None, "face")
    schema = {**json_schema(), "anyOf": [{"$ref": "#/$defs/CloudEvent"}]}
    jsonschema.validate(numbering.wrap(event).model_dump(mode="json"), schema)


def test_every_hook_is_documented() -> None:
    page = (DOCS / "plugins.md").read_text(encoding="utf-8")
    hooks = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("register_")]
    assert sorted(hooks) == sorted(HOOKS)
    for name in hooks:
        assert f"### `{name}`" in page or f"### {name}" in page


def test_every_message_and_code_is_documented() -> None:
    page = (DOCS / "protocol.md").read_text(encoding="utf-8")
    for adapter in (CLIENT_ADAPTER, SERVER_ADAPTER):
        for name in adapter.json_schema()["discriminator"]["mapping"]:
            assert f"`{name}`" in page, name
    for close in CloseCode:
        assert f"| {int(close)} |" in page, close
    on_the_wire = set(ErrorCode) - {ErrorCode.BAD_MEDIA, ErrorCode.DUPLICATE_NAME, ErrorCode.PLUGIN_FAILED}
    for code in on_the_wire - {ErrorCode.BAD_SETTING, ErrorCode.BAD_CHECKPOINT}:
        assert f"`{code.value}`" in page, code


def test_every_shipped_backend_has_weights_that_match_their_sidecar() -> None:
    shipped = [spec for spec in PluginHost().backends if spec.weights is not None]
    assert "cnn" in {spec.name for spec in shipped}
    for spec in shipped:
        assert spec.weights is not None
        load_checkpoint(spec.weights)
        sidecar = load_sidecar(spec.weights)
        accuracy = sidecar.metrics["accuracy"]
        assert accuracy.ci95 is not None
        low, high = accuracy.ci95
        assert low < accuracy.value < high
        assert spec.weights.stat().st_size < 25e6
        assert sidecar.training["data_sha256"]


def test_figures_of_sidecars_are_those_of_the_answers_beside_them() -> None:
    for spec in PluginHost().backends:
        if spec.weights is None:
            continue
        sidecar = load_sidecar(spec.weights)
        assert sidecar.predictions is not None
        answers = load_file(spec.weights.with_name(sidecar.predictions))
        right = float((answers["probabilities"].argmax(1) == answers["labels"]).mean())
        accuracy = sidecar.metrics["accuracy"]
        assert len(answers["labels"]) == accuracy.n, spec.name
        assert right == pytest.approx(accuracy.value, abs=1e-4), spec.name


def test_every_shipped_backend_brings_its_fit() -> None:
    host = PluginHost()
    for spec in host.backends:
        if spec.weights is not None:
            settings = Settings.model_validate({"inference": {"backend": spec.name}})
            fit = backend_fit(settings, host)
            assert fit is not None, spec.name
            assert fit.heads is not None, spec.name


def test_every_plugin_is_loaded() -> None:
    """Other tests run over what is registered: a plugin that fails would take its cases away unseen."""
    found = {plugin.name: plugin.status for plugin in PluginHost().plugins}
    ours = ("builtin", "cnn", "ensemble", "resnet", "seeds", "template")
    assert {name: found.get(name) for name in ours} == dict.fromkeys(ours, "loaded")


def test_what_the_package_exports_is_there() -> None:
    import affect

    assert {name for name in affect.__all__ if getattr(affect, name) is None} == set()


def test_cnn_reaches_what_was_asked_of_it() -> None:
    spec = PluginHost().backends.get("cnn")
    assert spec.weights is not None
    assert load_sidecar(spec.weights).metrics["accuracy"].value >= 0.62


def test_no_path_of_a_machine_in_a_sidecar() -> None:
    for spec in PluginHost().backends:
        if spec.weights is not None:
            text = json.dumps(load_sidecar(spec.weights).model_dump(mode="json"))
            assert '"/' not in text, "a value begins like an absolute path"


def test_the_astronaut_ships() -> None:
    assert resources.files("affect.assets").joinpath("astronaut.jpg").is_file()


def test_hookimpl_is_public() -> None:
    import affect

    assert affect.hookimpl is hookimpl


def test_the_model_cards_and_their_table_are_of_the_figures_and_weights_that_are_here(
    tmp_path: Path,
) -> None:
    shutil.copytree(MODELS / "figures", tmp_path / "figures")
    result = CliRunner().invoke(models, ["--no-measure", "-o", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = sorted(tmp_path.glob("*.md"))
    assert [made.name for made in written] == sorted(card.name for card in MODELS.glob("*.md"))
    for made in written:
        assert made.read_text("utf-8") == (MODELS / made.name).read_text("utf-8"), made.name


@pytest.mark.parametrize(("name", "megabytes", "least"), [("compact", 12, 0.695), ("resnet", 25, 0.69)])
def test_shipped_weights_keep_what_was_promised(name: str, megabytes: float, least: float) -> None:
    weights = PluginHost().weights_of(name)
    assert weights is not None
    assert weights.stat().st_size < megabytes * 1e6
    assert load_sidecar(weights).metrics["accuracy"].value >= least


def test_the_shipped_vote_keeps_what_was_promised() -> None:
    mirrored = json.loads((MODELS / "figures" / "ensemble.mirror.json").read_text("utf-8"))
    assert mirrored["accuracy"] >= 0.72
    assert mirrored["ece_cross_fitted"] < 0.03


@pytest.mark.parametrize("faces", ["compact", "compact.unseen"])
def test_faces_in_whole_pictures_are_found_and_read_as_was_promised(faces: str) -> None:
    """Of the default detector and backend, as they ship."""
    found = json.loads((RESULTS / "whole-pictures" / f"{faces}.json").read_text("utf-8"))
    weights = PluginHost().weights_of("compact")
    assert weights is not None
    assert (found["detector"], found["weights_sha256"]) == ("mtcnn", load_sidecar(weights).weights_sha256)
    assert found["n"] == 1500
    assert found["recall"] >= 0.95
    assert found["accuracy_direct"] - found["accuracy_tracked"] <= 0.03


@pytest.mark.parametrize("name", ["compact", "resnet", "mobilenet-face", "cnn"])
def test_calibrated_backends_are_calibrated(name: str) -> None:
    weights = PluginHost().weights_of(name)
    assert weights is not None
    figures = load_sidecar(weights).metrics
    assert max(figures["ece"].value, figures["ece_half"].value) < 0.03
    single = json.loads((MODELS / "figures" / f"{name}.single.json").read_text("utf-8"))
    assert single["nll_cross_fitted"] == pytest.approx(figures["nll"].value, abs=2e-3)


def test_the_list_of_the_data_page_is_one_that_is_read(tmp_path: Path) -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    (tmp_path / "faces.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    found = find_list(tmp_path)
    assert found is not None
    assert found.labels.own == {"joy": "happy", "contempt": "ignore"}
    assert (found.table.files["val.csv"], found.table.group) == ("PublicTest", "skin_tone")
    assert set(type(found.table).model_fields) - found.table.model_fields_set == {"split_of_prefix", "ending"}
