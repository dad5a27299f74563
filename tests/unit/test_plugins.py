from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from affect_cnn.plugin import WEIGHTS
from pydantic import BaseModel, ConfigDict

from affect import hookimpl
from affect.errors import AffectError, BackendError, ErrorCode, PluginError, SettingsError
from affect.inference.backend import Backend
from affect.inference.device import Device
from affect.plugins import PluginHost, PluginStatus
from affect.registry import BackendSpec, Context, DetectorSpec, EstimatorSpec, RecipeSpec, SinkSpec
from affect.settings import PluginSettings
from affect.testing import FakeBackend


@dataclass(frozen=True)
class Distribution:
    name: str
    version: str = "1.0"


class Point:
    """An installed entry point, as far as the host looks at it."""

    def __init__(self, name: str, plugin: object, distribution: str | None = None) -> None:
        self.name, self.plugin = name, plugin
        self.dist = Distribution(distribution) if distribution else None

    def load(self) -> object:
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


class Backends:
    """A plugin that registers backends, and then perhaps fails."""

    def __init__(self, *specs: BackendSpec, fail: Exception | None = None) -> None:
        self.specs, self.fail = specs, fail

    @hookimpl
    def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
        for spec in self.specs:
            register(spec)
        if self.fail:
            raise self.fail


class Knobs(BaseModel):
    model_config = ConfigDict(extra="forbid")
    gain: float = 1.0


def spec(name: str, create: Callable[[Context], Backend] | None = None, summary: str = "") -> BackendSpec:
    return BackendSpec(name, create or (lambda _: FakeBackend()), summary, Knobs)


def load(*points: Point, strict: bool = False, **table: Any) -> PluginHost:
    return PluginHost(
        PluginSettings.model_validate(table),
        entry_points=cast(Iterable[metadata.EntryPoint], points),
        strict=strict,
    )


def status(host: PluginHost, name: str) -> PluginStatus:
    (found,) = [plugin for plugin in host.plugins if plugin.name == name]
    return found


def test_a_plugin_is_loaded_and_says_what_it_provides() -> None:
    host = load(Point("mine", Backends(spec("a"), spec("b")), "my-dist"))
    assert status(host, "mine") == PluginStatus("mine", "my-dist", "1.0", "loaded", "", {"backends": ["a", "b"]})
    assert host.backends.names() == ["a", "b"]
    assert str(host.backends.provenance("a")) == "mine (my-dist 1.0)"


def test_a_module_can_be_a_plugin_and_implement_several_hooks() -> None:
    module = ModuleType("several")

    @hookimpl
    def register_backends(register: Callable[[BackendSpec], None]) -> None:
        register(spec("a"))

    @hookimpl
    def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
        register(RecipeSpec("r", "module:Class", "", ""))

    module.register_backends = register_backends  # type: ignore[attr-defined]
    module.register_recipes = register_recipes  # type: ignore[attr-defined]
    host = load(Point("several", module))
    assert status(host, "several").provides == {"backends": ["a"], "recipes": ["r"]}
    assert host.recipes.get("r").architecture == "module:Class"
    assert len(host.detectors) == 0


def test_ours_come_first_then_the_others_by_name() -> None:
    host = load(
        Point("b", Backends(spec("b")), "zzz"),
        Point("a", Backends(spec("a")), "yyy"),
        Point("z", Backends(spec("z")), "tutor-affect"),
    )
    assert [plugin.name for plugin in host.plugins] == ["z", "a", "b"]


def test_an_entry_point_without_a_distribution_is_unknown() -> None:
    found = status(load(Point("a", Backends(spec("a")))), "a")
    assert (found.distribution, found.version) == ("unknown", "0")


# Allow and block


def test_blocked_plugins_are_not_even_imported() -> None:
    host = load(Point("a", RuntimeError("imported")), Point("b", Backends(spec("b"))), block=("a",))
    assert (status(host, "a").status, status(host, "a").reason) == ("blocked", "plugins.block")
    assert host.backends.names() == ["b"]


def test_with_an_allow_list_only_its_plugins_load() -> None:
    host = load(Point("a", Backends(spec("a"))), Point("b", RuntimeError("imported")), allow=("a",))
    assert host.backends.names() == ["a"]
    assert (status(host, "b").status, status(host, "b").reason) == ("blocked", "not in plugins.allow")


def test_block_wins_over_allow() -> None:
    host = load(Point("a", Backends(spec("a"))), allow=("a",), block=("a",))
    assert status(host, "a").status == "blocked"


def test_an_empty_allow_list_allows_nothing() -> None:
    assert status(load(Point("a", Backends(spec("a"))), allow=()), "a").status == "blocked"


# Failures


def test_a_plugin_that_cannot_be_imported_is_reported_and_costs_nobody_else() -> None:
    host = load(Point("bad", ImportError("no module named cuda")), Point("good", Backends(spec("a"))))
    bad = status(host, "bad")
    assert bad.status == "failed"
    assert bad.reason.startswith("ImportError: no module named cuda")
    assert "test_plugins.py" in bad.reason  # where it was raised
    assert host.backends.names() == ["a"]


def test_what_a_plugin_registered_before_it_failed_is_taken_back() -> None:
    host = load(
        Point("bad", Backends(spec("half"), fail=ValueError("then this")), "bad-dist"),
        Point("good", Backends(spec("a"))),
    )
    assert status(host, "bad").status == "failed"
    assert status(host, "bad").reason.startswith("ValueError: then this")
    assert status(host, "bad").provides == {}
    assert host.backends.names() == ["a"]


def test_a_failed_plugin_can_be_registered_again() -> None:
    host = PluginHost(entry_points=[])
    plugin = Backends(spec("a"), fail=ValueError("not yet"))
    assert host.register(plugin, "mine").status == "failed"
    plugin.fail = None
    assert host.register(plugin, "mine").status == "loaded"
    assert host.backends.names() == ["a"]


def test_registering_by_hand_reports_like_an_entry_point() -> None:
    found = PluginHost(entry_points=[]).register(Backends(spec("a")), "mine")
    assert (found.distribution, found.version, found.provides) == ("local", "0", {"backends": ["a"]})


@pytest.mark.parametrize(
    "fault", [Backends(fail=ValueError("at register")), ImportError("at import"), object()], ids=str
)
def test_strict_raises_and_names_plugin_and_distribution(fault: object) -> None:
    with pytest.raises(PluginError, match=r"plugin 'bad' of bad-dist: "):
        load(Point("bad", fault, "bad-dist"), strict=True)


def test_a_misspelt_hook_is_answered_with_the_right_one() -> None:
    class Misspelt:
        @hookimpl
        def register_backend(self, register: Callable[[BackendSpec], None]) -> None:
            register(spec("a"))

    reason = PluginHost(entry_points=[]).register(Misspelt(), "bad").reason
    assert "unknown hook 'register_backend'; did you mean register_backends?" in reason


def test_a_misspelt_hook_without_a_marker_is_noticed_too() -> None:
    class Misspelt(Backends):
        def register_recipe(self) -> None: ...

    host = PluginHost(entry_points=[])
    assert "did you mean register_recipes?" in host.register(Misspelt(spec("a")), "bad").reason
    assert len(host.backends) == 0


def test_a_hook_without_a_marker_is_refused() -> None:
    class Unmarked:
        def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
            register(spec("a"))

    reason = PluginHost(entry_points=[]).register(Unmarked(), "bad").reason
    assert "register_backends is not marked with @affect.hookimpl" in reason


def test_a_hook_with_a_wrong_argument_is_refused() -> None:
    class Wrong:
        @hookimpl
        def register_backends(self, registry: object) -> None: ...

    host = PluginHost(entry_points=[])
    assert "registry" in host.register(Wrong(), "bad").reason
    assert host.register(Backends(spec("a")), "good").status == "loaded"


@pytest.mark.parametrize(("plugin", "kind"), [(object(), "object"), (ModuleType("empty"), "module")])
def test_a_plugin_that_implements_nothing_is_refused(plugin: object, kind: str) -> None:
    reason = PluginHost(entry_points=[]).register(plugin, "bad").reason
    assert f"this {kind} implements no hook; the hooks are register_backends, register_detectors" in reason


def test_something_that_is_no_spec_is_refused() -> None:
    class Wrong:
        @hookimpl
        def register_backends(self, register: Callable[[object], None]) -> None:
            register("a")

    assert PluginHost(entry_points=[]).register(Wrong(), "bad").status == "failed"


# Duplicates


def test_the_second_of_two_with_one_name_fails_and_names_both() -> None:
    host = load(Point("one", Backends(spec("a", summary="1")), "dist-1"), Point("two", Backends(spec("a")), "dist-2"))
    assert status(host, "one").status == "loaded"
    assert status(host, "two").status == "failed"
    for part in ("one (dist-1 1.0)", "two (dist-2 1.0)", "plugins.prefer.a"):
        assert part in status(host, "two").reason
    assert host.backends.get("a").summary == "1"


@pytest.mark.parametrize("preferred", ["dist-1", "dist-2"])
def test_prefer_settles_it(preferred: str) -> None:
    host = load(
        Point("one", Backends(spec("a", summary="dist-1")), "dist-1"),
        Point("two", Backends(spec("a", summary="dist-2"), spec("b")), "dist-2"),
        prefer={"a": preferred},
    )
    assert [plugin.status for plugin in host.plugins] == ["loaded", "loaded"]
    assert host.backends.get("a").summary == preferred
    assert "b" in host.backends


def test_two_distributions_may_not_harm_each_other_by_one_entry_point_name() -> None:
    host = load(Point("cnn", Backends(spec("a")), "dist-1"), Point("cnn", Backends(spec("b")), "dist-2"))
    assert host.plugins[0].status == "loaded"
    assert "a" in host.backends  # what a loaded plugin says it provides is there
    assert host.plugins[0].provides == {"backends": ["a"]}


def test_a_preferred_plugin_that_fails_gives_the_name_back() -> None:
    host = load(
        Point("one", Backends(spec("a", summary="ours")), "dist-1"),
        Point("two", Backends(spec("a"), fail=RuntimeError("after all")), "dist-2"),
        prefer={"a": "dist-2"},
    )
    assert status(host, "two").status == "failed"
    assert host.backends.get("a").summary == "ours"


# Creating


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


def test_what_plugins_are_told_and_nobody_is_called() -> None:
    class Plugin:
        @hookimpl
        def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
            register(BackendSpec("mtcnn", lambda _: FakeBackend(), ""))

    table = {"mtcnn": {}, "mtccn": {"min_face": 0.5}, "block": ["cok"]}
    host = PluginHost(PluginSettings.model_validate(table), entry_points=[])
    host.register(Plugin(), "cook")
    assert host.strays() == [
        "plugins.block: no plugin is called 'cok'; did you mean 'cook'?",
        "[plugins.mtccn]: nothing is registered by that name; did you mean 'mtcnn'?",
    ]
    host.register(object(), "broken")  # the table may be that one's
    host.plugins[-1].status = "failed"
    assert len(host.strays()) == 1


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
