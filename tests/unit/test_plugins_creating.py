from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from affect_cnn.plugin import WEIGHTS
from pydantic import BaseModel
from support.installed import Backends, Knobs, Point, load, spec

from affect import hookimpl
from affect.errors import AffectError, BackendError, ErrorCode, PluginError, SettingsError
from affect.inference.backend import Backend
from affect.inference.device import Device
from affect.plugins import PluginHost
from affect.registry import BackendSpec, Context, DetectorSpec, EstimatorSpec, SinkSpec
from affect.settings import PluginSettings
from affect.testing import FakeBackend


def test_create_gets_the_device_and_the_validated_settings(cpu: Device) -> None:
    seen: list[Context] = []

    def create(ctx: Context) -> FakeBackend:
        seen.append(ctx)
        return FakeBackend()

    host = load(Point("p", Backends(spec("a", create))), a={"gain": 2})
    assert isinstance(host.create_backend("a", cpu), FakeBackend)
    assert seen[0].device is cpu
    assert seen[0].settings == Knobs(gain=2.0)


def test_an_unknown_key_in_a_plugins_table_is_an_error(cpu: Device) -> None:
    host = load(Point("p", Backends(spec("a"))), a={"gian": 2})
    with pytest.raises(SettingsError, match=r"^plugins\.a\.gian: Extra inputs are not permitted"):
        host.create_backend("a", cpu)


def test_a_plugins_table_must_be_a_table(cpu: Device) -> None:
    with pytest.raises(SettingsError, match=r"plugins\.a"):
        load(Point("p", Backends(spec("a"))), a=3).create_backend("a", cpu)


def test_whatever_create_raises_names_the_plugin(cpu: Device) -> None:
    def create(_: Context) -> FakeBackend:
        raise KeyError("conv1")

    host = load(Point("p", Backends(spec("a", create)), "p-dist"))
    with pytest.raises(BackendError) as caught:
        host.create_backend("a", cpu)
    assert caught.value.code is ErrorCode.BACKEND_UNAVAILABLE
    assert caught.value.message == "backend 'a' of p (p-dist 1.0) could not be created: KeyError: 'conv1'"
    assert isinstance(caught.value.__cause__, KeyError)


def test_our_own_errors_pass_through_create(cpu: Device) -> None:
    error = BackendError("weights are missing", code=ErrorCode.BAD_CHECKPOINT)

    def create(_: Context) -> FakeBackend:
        raise error

    with pytest.raises(BackendError) as caught:
        load(Point("p", Backends(spec("a", create)))).create_backend("a", cpu)
    assert caught.value is error


def test_a_backend_may_hold_others(cpu: Device) -> None:
    made: list[Backend] = []

    def inner(ctx: Context) -> FakeBackend:
        assert ctx.device is cpu
        backend = FakeBackend()
        made.append(backend)
        return backend

    def outer(ctx: Context) -> FakeBackend:
        assert [ctx.backend("inner"), ctx.backend("inner")] == made  # siblings are no cycle
        return FakeBackend()

    load(Point("p", Backends(spec("inner", inner), spec("outer", outer)))).create_backend("outer", cpu)
    assert len(made) == 2


def test_backends_that_contain_each_other_are_refused_with_the_path(cpu: Device) -> None:
    specs = [spec(name, lambda ctx, other=other: ctx.backend(other)) for name, other in ("ab", "bc", "ca")]  # type: ignore[misc]
    with pytest.raises(PluginError, match=r"backends contain each other: a -> b -> c -> a"):
        load(Point("p", Backends(*specs))).create_backend("a", cpu)


def test_unknown_names_are_answered_with_near_ones(cpu: Device) -> None:
    host = load(Point("p", Backends(spec("resnet"))))
    with pytest.raises(PluginError, match=r"no backend 'resnt'; did you mean 'resnet'\?"):
        host.create_backend("resnt", cpu)
    with pytest.raises(PluginError, match="no detector 'mtcnn'; known: none"):
        host.create_detector("mtcnn", cpu)
    with pytest.raises(PluginError, match="no estimator 'hmm'"):
        host.create_estimator("hmm")
    with pytest.raises(PluginError, match="no sink 'jsonl'"):
        host.create_sink("jsonl")


def test_detectors_and_sinks_that_cannot_be_created_name_their_plugin(cpu: Device) -> None:
    def fail(_: object) -> Any:
        raise OSError("disk full")

    class Both:
        @hookimpl
        def register_detectors(self, register: Callable[[DetectorSpec], None]) -> None:
            register(DetectorSpec("d", fail, ""))

        @hookimpl
        def register_sinks(self, register: Callable[[SinkSpec], None]) -> None:
            register(SinkSpec("s", fail, ""))

    host = PluginHost(entry_points=[])
    host.register(Both(), "both")
    calls: Mapping[str, Callable[[], object]] = {
        "detector 'd'": lambda: host.create_detector("d", cpu),
        "sink 's'": lambda: host.create_sink("s"),
    }
    for what, call in calls.items():
        with pytest.raises(AffectError, match=rf"{what} of both \(local 0\) could not be created: OSError: disk full"):
            call()


def test_a_file_is_opened_by_the_backend_that_says_so(tmp_path: Path) -> None:
    class Settings(BaseModel):
        recipe: Path = Path("none")

    asked: list[Path] = []

    class Plugin:
        @hookimpl
        def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
            register(BackendSpec("cook", create, "opens recipes", Settings, opens={".cake": "recipe"}))

    def create(ctx: Context) -> FakeBackend:
        assert isinstance(ctx.settings, Settings)
        asked.append(ctx.settings.recipe)
        if ctx.settings.recipe.stem == "self":
            ctx.backend(str(ctx.settings.recipe))
        return FakeBackend()

    host = PluginHost(entry_points=[])
    host.register(Plugin(), "cook")
    place = tmp_path / "one.cake"
    host.create_backend(str(place), Device("cpu", "float32"))
    host.create_backend("cook", Device("cpu"))
    assert asked == [place, Path("none")]
    assert host.weights_of(str(place)) is None
    assert host.weights_of("other.safetensors") == Path("other.safetensors")
    with pytest.raises(PluginError, match="contain each other"):
        host.create_backend(str(tmp_path / "self.cake"), Device("cpu"))


def test_what_is_set_for_a_backend_holds_for_the_files_it_opens(tmp_path: Path) -> None:
    class Settings(BaseModel):
        recipe: Path = Path("none")
        budget: int = 0
        guests: tuple[str, ...] = ()

    asked: list[Settings] = []

    class Plugin:
        @hookimpl
        def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
            register(BackendSpec("cook", create, "", Settings, opens={".cake": "recipe"}, opens_without=("guests",)))

    def create(ctx: Context) -> FakeBackend:
        assert isinstance(ctx.settings, Settings)
        asked.append(ctx.settings)
        return FakeBackend()

    table = {"cook": {"budget": 30, "guests": ["a"], "recipe": "other.cake"}}
    host = PluginHost(PluginSettings.model_validate(table), entry_points=[])
    host.register(Plugin(), "cook")
    host.create_backend(str(tmp_path / "one.cake"), Device("cpu", "float32"))
    assert asked == [Settings(recipe=tmp_path / "one.cake", budget=30)]


class Estimators:
    """A plugin with an estimator of its own."""

    def __init__(self, *specs: EstimatorSpec) -> None:
        self.specs = specs

    @hookimpl
    def register_estimators(self, register: Callable[[EstimatorSpec], None]) -> None:
        for each in self.specs:
            register(each)


def test_an_estimator_of_a_plugin_is_made_with_its_settings_and_those_it_extends() -> None:
    made: list[BaseModel] = []
    specs = (
        EstimatorSpec("base", lambda knobs: made.append(knobs) or "base", "", Knobs),  # type: ignore[func-returns-value, arg-type, return-value]
        EstimatorSpec("toy", lambda knobs: made.append(knobs) or "toy", "", Knobs, extends="base"),  # type: ignore[func-returns-value, arg-type, return-value]
        EstimatorSpec("broken", lambda _: 1 / 0, ""),  # type: ignore[arg-type, return-value]
    )
    host = PluginHost(PluginSettings.model_validate({"base": {"gain": 3.0}}), entry_points=[], strict=True)
    host.register(Estimators(*specs), "toys", "toy-package", "2.0")
    assert cast(Any, host.create_estimator("toy")) == "toy"
    assert cast(Knobs, made[0]).gain == 3.0
    with pytest.raises(BackendError, match=r"broken.*toy-package.*division by zero"):
        host.create_estimator("broken")
    with pytest.raises(PluginError, match="did you mean 'toy'"):
        host.create_estimator("toi")


def test_a_name_stands_for_the_weights_that_are_configured() -> None:
    assert PluginHost().weights_of("cnn") == WEIGHTS
    configured = PluginHost(PluginSettings.model_validate({"cnn": {"weights": "other.safetensors"}}))
    assert configured.weights_of("cnn") == Path("other.safetensors")
    assert configured.weights_of("mine.safetensors") == Path("mine.safetensors")
    assert configured.weights_of("ensemble") is None
    with pytest.raises(PluginError, match="did you mean 'cnn'"):
        configured.weights_of("cnm")
