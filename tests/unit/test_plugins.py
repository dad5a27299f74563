from collections.abc import Callable
from types import ModuleType

import pytest
from support.installed import Backends, Point, load, spec, status

from affect import hookimpl
from affect.errors import PluginError
from affect.plugins import PluginHost, PluginStatus
from affect.registry import BackendSpec, RecipeSpec
from affect.settings import PluginSettings
from affect.testing import FakeBackend


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
    assert "installed.py" in bad.reason  # where it was raised
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
