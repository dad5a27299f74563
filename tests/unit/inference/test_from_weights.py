import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from affect import hookimpl
from affect.errors import BackendError, CheckpointError, ErrorCode
from affect.inference.checkpoint import InputSpec, save_checkpoint, sidecar_path
from affect.inference.device import Device
from affect.inference.from_weights import build_network
from affect.inference.torch_backend import TorchBackend
from affect.pictures import load_backend
from affect.plugins import PluginHost
from affect.registry import BackendSpec, RecipeSpec
from affect.settings import InferenceSettings
from affect.vision.geometry import FER2013_CROP

TINY = f"{__name__}:Tiny"
INPUT = InputSpec(size=8, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP)


class Tiny(nn.Module):
    def __init__(self, *, width: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.out = nn.Linear(width, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(self.conv(faces).mean((2, 3)))
        return logits


class Recipes:
    @hookimpl
    def register_recipes(self, register: Callable[[RecipeSpec], None]) -> None:
        register(RecipeSpec("tiny", TINY, "", ""))


@pytest.fixture
def host() -> PluginHost:
    host = PluginHost(entry_points=[])
    assert host.register(Recipes(), "recipes").status == "loaded"
    return host


def write(folder: Path, *, width: int = 5, **fields: Any) -> Path:
    path = folder / "mine.safetensors"
    chosen = {"architecture": TINY, "arguments": {"width": width}, "temperature": 1.5, **fields}
    save_checkpoint(path, Tiny(width=width).state_dict(), dtype=torch.float32, parameters=1, input=INPUT, **chosen)
    return path


def edit(weights: Path, **changes: Any) -> None:
    sidecar = json.loads(sidecar_path(weights).read_text())
    sidecar.update(changes)
    sidecar_path(weights).write_text(json.dumps({k: v for k, v in sidecar.items() if v is not None}))


def test_a_weights_file_is_a_backend(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = write(tmp_path)
    torch.manual_seed(0)
    network = Tiny(width=5).eval()
    backend = host.create_backend(str(weights), cpu)
    faces = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(backend.predict(faces), network(faces))
    assert (backend.input, backend.temperature) == (INPUT, 1.5)
    assert host.weights_of(str(weights)) == weights


def test_an_older_sidecar_says_the_arguments_in_its_configuration(
    host: PluginHost, cpu: Device, tmp_path: Path
) -> None:
    weights = write(tmp_path, training={"config": {"model": {"width": 5}}})
    edit(weights, arguments=None)
    backend = host.create_backend(str(weights), cpu)
    assert isinstance(backend, TorchBackend)
    assert backend.model.out.in_features == 5  # type: ignore[union-attr]


def test_arguments_of_the_sidecar_win_even_when_empty(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path, width=3, arguments={}, training={"config": {"model": {"width": 5}}})
    assert host.create_backend(str(weights), cpu).predict(torch.zeros(1, 1, 8, 8)).shape == (1, 7)


def test_a_backend_that_holds_others_may_name_weights(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path)

    class Wrapper:
        @hookimpl
        def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
            register(BackendSpec("wrapper", lambda ctx: ctx.backend(str(weights)), ""))

    host.register(Wrapper(), "wrapper")
    assert host.create_backend("wrapper", cpu).temperature == 1.5


def test_a_missing_file_is_named(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such weights file"):
        host.create_backend(str(tmp_path / "gone.safetensors"), cpu)


def test_a_missing_sidecar_is_named(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path)
    sidecar_path(weights).unlink()
    with pytest.raises(CheckpointError, match=r"no sidecar .*mine\.json"):
        host.create_backend(str(weights), cpu)


@pytest.mark.parametrize("name", ["mine.pt", "mine.ckpt", "mine.pkl", "mine.bin"])
def test_other_kinds_of_files_are_refused_unread(host: PluginHost, cpu: Device, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"weights are a \.safetensors file.*pickles are never loaded"):
        host.create_backend(str(tmp_path / name), cpu)


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _spring, ()


def _spring() -> None:
    _Trap.sprung = True


def test_a_pickle_under_the_right_name_is_refused_unread(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path)
    weights.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(CheckpointError, match=r"mine\.safetensors: not a safetensors file .*pickles are never"):
        host.create_backend(str(weights), cpu)
    assert not _Trap.sprung


def test_only_architectures_of_recipes_are_imported(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path, architecture="antigravity:Thing")
    with pytest.raises(CheckpointError, match=rf"'antigravity:Thing' is that of no registered recipe; known: {TINY}"):
        host.create_backend(str(weights), cpu)
    assert "antigravity" not in sys.modules


def test_without_recipes_it_says_what_is_missing(cpu: Device, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"known: none; is the plugin with its recipe installed\?"):
        PluginHost(entry_points=[]).create_backend(str(write(tmp_path)), cpu)


def test_arguments_the_network_does_not_take_are_named(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path, arguments={"depth": 9})
    with pytest.raises(CheckpointError, match=r"mine\.json: .*Tiny cannot be built with \{'depth': 9\}"):
        host.create_backend(str(weights), cpu)


def test_arguments_of_another_shape_are_refused(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path, width=5, arguments={"width": 4})
    with pytest.raises(CheckpointError, match=r"does not fit Tiny(.|\n)*size mismatch"):
        host.create_backend(str(weights), cpu)


def test_weights_of_another_sidecar_are_refused(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path)
    edit(weights, weights_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="do not match their sidecar"):
        host.create_backend(str(weights), cpu)


def test_a_damaged_sidecar_is_named_with_its_field(host: PluginHost, cpu: Device, tmp_path: Path) -> None:
    weights = write(tmp_path)
    edit(weights, temperature=-1)
    with pytest.raises(CheckpointError, match=r"mine\.json: temperature"):
        host.create_backend(str(weights), cpu)


def test_whatever_else_goes_wrong_names_the_file(
    host: PluginHost, cpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Tiny, *, width: int) -> None:
        raise KeyError(width)

    weights = write(tmp_path)
    monkeypatch.setattr(Tiny, "__init__", explode)
    with pytest.raises(BackendError, match=r"mine\.safetensors could not be served: KeyError: 5") as caught:
        host.create_backend(str(weights), cpu)
    assert caught.value.code is ErrorCode.BACKEND_UNAVAILABLE


@pytest.mark.parametrize("architecture", ["no_such_module:X", f"{__name__}:Nothing", "json:loads:x", ""])
def test_what_cannot_be_imported_is_a_checkpoint_error(architecture: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be imported"):
        build_network(architecture, {})


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="makes a OrderedDict, no torch module"):
        build_network("collections:OrderedDict", {})


def test_a_picture_is_classified_by_the_path_of_weights() -> None:
    """The weights that ship with `cnn` know their network; no name is needed."""
    import affect_cnn.plugin

    crops = [np.random.default_rng(k).integers(0, 255, (48, 48), dtype=np.uint8) for k in range(3)]
    by_path = load_backend(affect_cnn.plugin.WEIGHTS, device="cpu").probabilities(crops)
    np.testing.assert_array_equal(by_path, load_backend("cnn", device="cpu").probabilities(crops))


@pytest.mark.parametrize(
    ("backend", "word"), [("cnn", "cnn"), ("/home/me/runs/mine.safetensors", "mine"), ("mine.safetensors", "mine")]
)
def test_a_backend_in_one_word_hides_where_it_lies(backend: str, word: str) -> None:
    assert InferenceSettings(backend=backend).backend_word == word
