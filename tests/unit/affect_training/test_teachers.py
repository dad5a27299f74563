import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from affect_training import teachers
from affect_training.teachers import ask, teacher_probabilities
from torch import nn

from affect import hookimpl
from affect.errors import PluginError, SettingsError
from affect.inference.checkpoint import InputSpec, load_sidecar, save_checkpoint
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.plugins import PluginHost
from affect.registry import BackendSpec, Context, RecipeSpec
from affect.settings import PluginSettings
from affect.testing import FakeBackend
from affect.types import ByteArray
from affect.vision.geometry import FER2013_CROP


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(48 * 48, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(faces.flatten(1))
        return logits


class Mirroring(FakeBackend):
    """Says that it asks itself about both views."""

    mirror = True
    fingerprint = "m"

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Answer by the left half alone, so that a second look at the mirror image would show."""
        return super().predict(faces[..., :24])


class Plugin:
    def __init__(self) -> None:
        self.made: list[FakeBackend] = []

    @hookimpl
    def register_recipes(self, register: Callable[[RecipeSpec], None]) -> None:
        register(RecipeSpec("small", "affect_small_teacher:Small", "", ""))

    @hookimpl
    def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
        register(BackendSpec("grey", self._grey, ""))
        register(BackendSpec("mirroring", lambda _: Mirroring(), ""))

    def _grey(self, _: Context) -> FakeBackend:
        self.made.append(FakeBackend())
        return self.made[-1]


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def host(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    module = ModuleType("affect_small_teacher")
    module.Small = Small  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "affect_small_teacher", module)
    host = PluginHost(PluginSettings(), entry_points=[], strict=True)
    host.register(plugin, "small")
    monkeypatch.setattr(teachers, "installed_host", lambda: host)
    return host


def write(path: Path, seed: int = 0, temperature: float = 1.0, power: float = 1.0) -> Path:
    torch.manual_seed(seed)
    save_checkpoint(
        path,
        Small().state_dict(),
        architecture="affect_small_teacher:Small",
        parameters=1,
        input=InputSpec(size=48, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP),
        temperature=temperature,
        power=power,
    )
    return path


@pytest.fixture
def images() -> ByteArray:
    return np.random.default_rng(0).integers(0, 255, (9, 48, 48), np.uint8)


def mirrored(images: ByteArray) -> ByteArray:
    return np.ascontiguousarray(images[:, :, ::-1])


def test_an_answer_is_what_the_backend_says(host: PluginHost, cpu: Device, tmp_path: Path, images: ByteArray) -> None:
    path = write(tmp_path / "a.safetensors")
    door = FaceClassifier(host.create_backend(str(path), cpu), cpu)
    alone = ask(str(path), images, cpu, mirror=False, cache=None, host=host)
    np.testing.assert_array_equal(alone.probabilities, door.probabilities(list(images)))
    assert alone.weights_sha256 == load_sidecar(path).weights_sha256
    both = ask(str(path), images, cpu, mirror=True, cache=None, host=host).probabilities
    expected = (door.probabilities(list(images)) + door.probabilities(list(mirrored(images)))) / 2
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    assert both.dtype == np.float32


def test_many_faces_are_asked_in_parts(
    host: PluginHost, plugin: Plugin, cpu: Device, images: ByteArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask("grey", images, cpu, mirror=True, cache=None, host=host)
    monkeypatch.setattr(teachers, "_PART", 4)
    np.testing.assert_array_equal(
        ask("grey", images, cpu, mirror=True, cache=None, host=host).probabilities, whole.probabilities
    )
    assert plugin.made[-1].batches == [4, 4, 4, 4, 1, 1]
    assert ask("grey", images[:0], cpu, mirror=True, cache=None, host=host).probabilities.shape == (0, 7)


def test_a_teacher_is_the_mean_of_its_members(host: PluginHost, cpu: Device, tmp_path: Path, images: ByteArray) -> None:
    names = [str(write(tmp_path / f"{seed}.safetensors", seed)) for seed in range(3)]
    found = teacher_probabilities(names, images, cpu, cache=None)
    taught = found.probabilities
    assert found.sha256 == tuple(load_sidecar(Path(name)).weights_sha256 for name in names)
    each = [ask(name, images, cpu, mirror=True, cache=None, host=host).probabilities for name in names]
    np.testing.assert_allclose(taught, np.mean(each, axis=0), rtol=1e-5)
    assert taught.dtype == np.float32
    np.testing.assert_allclose(taught.sum(1), 1, rtol=1e-5)


def test_a_teacher_without_names_is_refused(host: PluginHost, cpu: Device, images: ByteArray) -> None:
    with pytest.raises(SettingsError, match="at least one backend"):
        teacher_probabilities([], images, cpu, cache=None)
    with pytest.raises(PluginError, match="no backend 'gray'"):
        teacher_probabilities(["gray"], images, cpu, cache=None)


def test_a_backend_that_mirrors_itself_is_asked_once(host: PluginHost, cpu: Device, images: ByteArray) -> None:
    images[:, :, 24:] //= 4
    with_mirror = ask("mirroring", images, cpu, mirror=True, cache=None, host=host)
    without = ask("mirroring", images, cpu, mirror=False, cache=None, host=host)
    np.testing.assert_array_equal(with_mirror.probabilities, without.probabilities)


# The cache


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "predictions").glob("*"))


def test_what_was_said_is_kept_and_not_asked_again(
    host: PluginHost, cpu: Device, tmp_path: Path, images: ByteArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = str(write(tmp_path / "a.safetensors")), tmp_path / "cache"
    first = ask(path, images, cpu, mirror=True, cache=cache, host=host)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(teachers, "_probabilities", refuse)
    again = ask(path, images, cpu, mirror=True, cache=cache, host=host)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    assert again.weights_sha256 == first.weights_sha256
    assert len(kept(cache)) == 1


def test_anything_that_changes_the_answer_is_asked_anew(
    host: PluginHost, cpu: Device, tmp_path: Path, images: ByteArray
) -> None:
    cache = tmp_path / "cache"
    a = str(write(tmp_path / "a.safetensors"))
    ask(a, images, cpu, mirror=True, cache=cache, host=host)
    ask(a, images, cpu, mirror=False, cache=cache, host=host)
    ask(a, images[:5], cpu, mirror=True, cache=cache, host=host)
    ask(a, mirrored(images), cpu, mirror=True, cache=cache, host=host)
    ask(a, images, Device("cpu", "bfloat16"), mirror=True, cache=cache, host=host)
    assert len(kept(cache)) == 5
    write(tmp_path / "a.safetensors", temperature=2.0)  # recalibrated
    cooler = ask(a, images, cpu, mirror=True, cache=cache, host=host)
    write(tmp_path / "a.safetensors", seed=1)  # trained again under the same name
    ask(a, images, cpu, mirror=True, cache=cache, host=host)
    write(tmp_path / "a.safetensors", seed=1, power=1.5)  # a power more
    ask(a, images, cpu, mirror=True, cache=cache, host=host)
    assert len(kept(cache)) == 8
    write(tmp_path / "elsewhere.safetensors", temperature=2.0)  # the same weights under another name
    moved = ask(str(tmp_path / "elsewhere.safetensors"), images, cpu, mirror=True, cache=cache, host=host)
    np.testing.assert_array_equal(moved.probabilities, cooler.probabilities)
    assert len(kept(cache)) == 8


def test_a_backend_without_weights_is_asked_every_time(
    host: PluginHost, plugin: Plugin, cpu: Device, tmp_path: Path, images: ByteArray
) -> None:
    for _ in range(2):
        ask("grey", images, cpu, mirror=False, cache=tmp_path / "cache", host=host)
    assert [backend.batches for backend in plugin.made] == [[9], [9]]
    assert all(backend.closed for backend in plugin.made)
    assert not (tmp_path / "cache").exists()


def test_a_fingerprint_stands_for_weights(host: PluginHost, cpu: Device, tmp_path: Path, images: ByteArray) -> None:
    answers = ask("mirroring", images, cpu, mirror=True, cache=tmp_path, host=host)
    assert len(kept(tmp_path)) == 1
    assert (answers.weights_sha256, answers.identity) == (None, "m")


@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "nonsense", "of other faces"])
def test_a_damaged_cache_is_written_anew(
    host: PluginHost,
    cpu: Device,
    tmp_path: Path,
    images: ByteArray,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, cache = str(write(tmp_path / "a.safetensors")), tmp_path / "cache"
    first = ask(path, images, cpu, mirror=False, cache=cache, host=host)
    (file,) = kept(cache)
    if content is None:
        np.save(file, np.zeros((3, 7), np.float32))
    else:
        file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = ask(path, images, cpu, mirror=False, cache=cache, host=host)
    assert "asked anew" in caplog.text
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    np.testing.assert_array_equal(np.load(file), first.probabilities)


def test_a_cache_that_cannot_be_written_costs_only_the_next_time(
    host: PluginHost, cpu: Device, tmp_path: Path, images: ByteArray, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        answer = ask(
            str(write(tmp_path / "a.safetensors")), images, cpu, mirror=False, cache=tmp_path / "file", host=host
        )
    assert answer.probabilities.shape == (9, 7)
    assert "not kept" in caplog.text
