"""The whole way: members, validation faces, search, manifest, and the service's door."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from affect_ensemble import plugin as ensemble_plugin
from affect_training import ensemble_file, teachers
from affect_training.cli.ensemble import ensemble as command
from affect_training.data import FaceData, Split
from click.testing import CliRunner, Result
from torch import nn

from affect import hookimpl
from affect.errors import BackendError, SettingsError
from affect.inference.checkpoint import InputSpec, load_sidecar, save_checkpoint
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.plugins import PluginHost
from affect.registry import BackendSpec, RecipeSpec
from affect.settings.load import load_settings
from affect.testing import FakeBackend
from affect.vision.geometry import FER2013_CROP


class Bars(nn.Module):
    """Reads the height of a bright bar, which is the label, through noise of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(48, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(faces.mean(dim=(1, 3)))
        return logits


class _Plugin:
    @hookimpl
    def register_recipes(self, register: Callable[[RecipeSpec], None]) -> None:
        register(RecipeSpec("bars", "affect_bars:Bars", "", ""))

    @hookimpl
    def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
        register(BackendSpec("grey", lambda _: FakeBackend(), ""))


def write(path: Path, seed: int, noise: float, **fields: Any) -> Path:
    torch.manual_seed(seed)
    network = Bars()
    with torch.no_grad():
        network.out.weight.normal_(0, noise)
        for k in range(7):
            network.out.weight[k, 4 + 6 * k : 8 + 6 * k] += 1.0
    chosen = {"input": InputSpec(size=48, channels=1, mean=(0.4,), std=(0.3,), crop=FER2013_CROP), **fields}
    save_checkpoint(
        path,
        network.state_dict(),
        dtype=torch.float32,
        architecture="affect_bars:Bars",
        arguments={},
        parameters=1,
        temperature=1.0,
        **chosen,
    )
    return path


@pytest.fixture
def members(tmp_path: Path) -> list[str]:
    folder = tmp_path / "weights"
    return [str(write(folder / f"m{k}.safetensors", k, noise)) for k, noise in enumerate((0.6, 0.3, 0.5))]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PluginHost:
    module = ModuleType("affect_bars")
    module.Bars = Bars  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "affect_bars", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("affect_training.provenance.git_commit", lambda: "abc")
    host = PluginHost(entry_points=[], strict=True)
    host.register(ensemble_plugin, "ensemble")
    host.register(_Plugin(), "bars")
    monkeypatch.setattr(teachers, "installed_host", lambda: host)
    return host


@pytest.fixture(autouse=True)
def faces(monkeypatch: pytest.MonkeyPatch) -> Split:
    rng = np.random.default_rng(7)
    labels = np.arange(140, dtype=np.int64) % 7
    images = rng.integers(0, 180, (140, 48, 48), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 6 * label : 8 + 6 * label] += 40
    split = Split(images, labels, np.arange(140, dtype=np.int64))
    monkeypatch.setattr(
        "affect_training.data.load_faces", lambda *_, **__: FaceData({"PublicTest": split}, {"PublicTest": 0}, "f" * 64)
    )
    return split


def call(tmp_path: Path, *arguments: str) -> Result:
    data = tmp_path / "fer2013.csv"
    data.touch()
    options = ["--data", str(data), "--device", "cpu", "--search", "40", *arguments]
    return CliRunner().invoke(command, options, catch_exceptions=False)


@pytest.mark.parametrize("vote", ["soft", "weighted", "majority"])
def test_the_manifest_serves_what_was_found(
    tmp_path: Path, host: PluginHost, members: list[str], faces: Split, vote: str
) -> None:
    out = tmp_path / "found" / "e.json"
    result = call(tmp_path, *members, "--vote", vote, "--keep", "all", "-o", str(out))
    assert result.exit_code == 0
    for words in ("PublicTest, n=140, tta mirror", f"{vote} vote, the most useful first", "cross-fitted", "loaded as"):
        assert words in result.output
    manifest = json.loads(out.read_text())
    assert manifest["vote"] == vote
    assert manifest["mirror"] is True
    assert manifest["selection"]["data_sha256"] == "f" * 64
    if vote == "weighted":
        assert manifest["selection"]["gain"]["found"] >= 0
    else:  # of the weighted vote, which this is not
        assert "gain" not in manifest["selection"]
    for entry in manifest["members"]:
        file = (out.parent / entry["file"]).resolve()
        assert str(file) in members
        assert entry["weights_sha256"] == load_sidecar(file).weights_sha256
    device = Device("cpu")
    backend = host.create_backend(str(out), device)  # as `affect serve --backend FILE.json`
    served = FaceClassifier(backend, device).probabilities(list(faces.images))
    accuracy = float((served.argmax(1) == faces.labels).mean())
    assert accuracy == pytest.approx(manifest["metrics"]["accuracy"]["value"], abs=2 / 140)  # rounding of a batch
    assert backend.temperature == manifest["members"][-1]["temperature"]


@pytest.mark.parametrize(("tta", "views"), [("shift-mirror", 10), ("augmented", 9)])
def test_more_views_than_the_service_has_are_for_the_tables(
    tmp_path: Path, host: PluginHost, members: list[str], faces: Split, tta: str, views: int
) -> None:
    out = tmp_path / "e.json"
    result = call(tmp_path, *members, "--tta", tta, "--keep", "all", "-o", str(out))
    assert f"PublicTest, n=140, tta {tta}" in result.output
    assert len(list((tmp_path / "runs/cache/predictions").iterdir())) == 3 * (
        views - 1
    )  # two of them are asked at once
    manifest = json.loads(out.read_text())
    assert (manifest["mirror"], manifest["selection"]["tta"]) == (True, tta)
    written = manifest["metrics"]["accuracy"]["value"]
    assert f"face and mirror image: accuracy {written:.4f}"[:-1] in result.output
    device = Device("cpu")
    backend = host.configured("ensemble", {"manifest": str(out)}).create_backend("ensemble", device)
    served = FaceClassifier(backend, device).probabilities(list(faces.images))
    assert float((served.argmax(1) == faces.labels).mean()) == pytest.approx(written, abs=2 / 140)


def test_a_toml_file_is_a_configuration_of_the_service(tmp_path: Path, host: PluginHost, members: list[str]) -> None:
    out = tmp_path / "e.toml"
    result = call(tmp_path, *members, "--tta", "none", "-o", str(out))
    assert "affect --config" in result.output
    settings = load_settings(out, environ={}).settings
    assert settings.inference.backend == "ensemble"
    assert settings.plugins.of("ensemble") == {"manifest": str(tmp_path / "e.json")}
    assert json.loads((tmp_path / "e.json").read_text())["mirror"] is False


def test_keep_says_how_many_members_are_written(tmp_path: Path, host: PluginHost, members: list[str]) -> None:
    counts = {}
    for keep in ("1", "best", "all"):
        result = call(tmp_path, *members, "--keep", keep, "-o", str(tmp_path / "e.json"))
        assert "kept: " in result.output
        counts[keep] = len(json.loads((tmp_path / "e.json").read_text())["members"])
    assert counts["1"] == 1
    assert counts["all"] == 3
    best = json.loads((tmp_path / "e.json").read_text())["members"]
    accuracies = [member["metrics"]["accuracy"]["value"] for member in best]  # of the last call: all, in their order
    assert counts["best"] == 1 + accuracies.index(max(accuracies))


def test_a_registered_backend_is_named_by_its_name(tmp_path: Path, host: PluginHost, members: list[str]) -> None:
    out = tmp_path / "e.json"
    assert call(tmp_path, "grey", members[0], "--keep", "all", "-o", str(out)).exit_code == 0
    entries = json.loads(out.read_text())["members"]
    assert [entry.get("backend") for entry in entries] == [None, "grey"]
    assert entries[1]["weights_sha256"] is None


def test_predictions_are_kept_for_the_next_search(
    tmp_path: Path, host: PluginHost, members: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "e.json")
    call(tmp_path, *members, "-o", out)
    assert len(list((tmp_path / "runs/cache/predictions").iterdir())) == 3

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(teachers, "_probabilities", refuse)
    assert call(tmp_path, *members, "--vote", "majority", "-o", out).exit_code == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: [m[0], "-o", "e.json"], "at least two members"),
        (lambda m: [m[0], m[1], m[0], "-o", "e.json"], r"named twice: .*m0\.safetensors"),
        (lambda m: [m[0], m[1], "-o", "e.yaml"], r"e\.yaml: an ensemble is written as \.json, or \.toml"),
        (lambda m: [m[0], m[1], "--keep", "0", "-o", "e.json"], "--keep is best, all or a number"),
        (lambda m: [m[0], m[1], "--vote", "weighted", "--search", "0", "-o", "e.json"], "needs a search"),
    ],
)
def test_wrong_calls_are_refused(
    tmp_path: Path, host: PluginHost, members: list[str], change: Callable[[list[str]], list[str]], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        call(tmp_path, *change(members))
    assert not (tmp_path / "e.json").exists()


def test_members_that_cannot_be_served_together_leave_no_manifest(
    tmp_path: Path, host: PluginHost, members: list[str]
) -> None:
    other = InputSpec(size=32, channels=1, mean=(0.4,), std=(0.3,), crop=FER2013_CROP)

    class Pooled(Bars):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return super().forward(nn.functional.interpolate(faces, size=(48, 48)))

    sys.modules["affect_bars"].Bars = Pooled  # type: ignore[attr-defined]
    small = str(write(tmp_path / "small.safetensors", 9, 0.3, input=other))
    with pytest.raises(SettingsError, match="members see the same crop, but the size of"):
        call(tmp_path, members[0], small, "--keep", "all", "-o", str(tmp_path / "e.json"))
    assert not (tmp_path / "e.json").exists()


def test_a_service_that_answers_otherwise_is_noticed(
    tmp_path: Path, host: PluginHost, members: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e.toml"
    call(tmp_path, *members, "--keep", "1", "-o", str(out))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("e.*")}
    monkeypatch.setattr(ensemble_file, "FaceClassifier", _Uniform)
    with pytest.raises(BackendError, match=r"answers otherwise than when it was found: \d+ of 140 faces"):
        call(tmp_path, *members, "--keep", "all", "-o", str(out))
    # What was there before is as it was.
    assert {path.name: path.read_bytes() for path in tmp_path.glob("e.*")} == before


def test_a_place_that_cannot_be_written_is_told_before_anybody_is_asked(
    tmp_path: Path, host: PluginHost, members: list[str]
) -> None:
    (tmp_path / "e.json").mkdir()
    with pytest.raises(SettingsError, match=r"e\.json: cannot be written"):
        call(tmp_path, *members, "-o", str(tmp_path / "e.toml"))
    assert not (tmp_path / "runs/cache/predictions").exists()


class _Uniform:
    def __init__(self, *_: object) -> None:
        pass

    def probabilities(self, crops: list[object]) -> object:
        return np.full((len(crops), 7), 1 / 7, np.float32)
