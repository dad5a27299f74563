import pytest
from pydantic import BaseModel, ConfigDict, Field

from affect.errors import ErrorCode, PluginError, SettingsError
from affect.registry import NoSettings, Provenance, RecipeSpec, Registry, unknown_name, validate_settings

OURS = Provenance("builtin", "tutor-affect", "0.1")
THEIRS = Provenance("other", "other-dist", "2.0")


def recipe(name: str, summary: str = "") -> RecipeSpec:
    return RecipeSpec(name, "module:Class", summary, "nowhere")


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(default=1, ge=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Nested = Nested()


def test_a_name_leads_to_its_spec_and_to_who_registered_it() -> None:
    registry: Registry[RecipeSpec] = Registry("recipe")
    spec = recipe("a")
    registry.add(spec, OURS)
    assert registry.get("a") is spec
    assert str(registry.provenance("a")) == "builtin (tutor-affect 0.1)"


def test_names_are_sorted_and_countable() -> None:
    registry: Registry[RecipeSpec] = Registry("recipe")
    for name in ("b", "c", "a"):
        registry.add(recipe(name), OURS)
    assert registry.names() == ["a", "b", "c"]
    assert [spec.name for spec in registry] == ["a", "b", "c"]
    assert len(registry) == 3
    assert "b" in registry
    assert "d" not in registry


def test_a_duplicate_names_both_distributions_and_the_remedy() -> None:
    registry: Registry[RecipeSpec] = Registry("recipe")
    registry.add(recipe("a", "first"), OURS)
    with pytest.raises(PluginError) as caught:
        registry.add(recipe("a"), THEIRS)
    assert caught.value.code is ErrorCode.DUPLICATE_NAME
    for part in ("recipe 'a'", "tutor-affect 0.1", "other-dist 2.0", "plugins.prefer.a"):
        assert part in caught.value.message
    assert registry.get("a").summary == "first"


@pytest.mark.parametrize("order", [(OURS, THEIRS), (THEIRS, OURS)])
@pytest.mark.parametrize("preferred", [OURS, THEIRS])
def test_prefer_decides_in_whatever_order_they_come(
    order: tuple[Provenance, Provenance], preferred: Provenance
) -> None:
    registry: Registry[RecipeSpec] = Registry("recipe", {"a": preferred.distribution})
    for provenance in order:
        registry.add(recipe("a", provenance.plugin), provenance)
    assert registry.get("a").summary == preferred.plugin
    assert registry.provenance("a") == preferred


def test_preferring_a_third_distribution_solves_nothing() -> None:
    registry: Registry[RecipeSpec] = Registry("recipe", {"a": "somebody-else"})
    registry.add(recipe("a"), OURS)
    with pytest.raises(PluginError, match="registered by"):
        registry.add(recipe("a"), THEIRS)


def test_a_plugins_specs_can_be_forgotten() -> None:
    registry: Registry[RecipeSpec] = Registry("recipe")
    registry.add(recipe("a"), OURS)
    registry.add(recipe("b"), THEIRS)
    registry.remove(THEIRS)
    assert registry.names() == ["a"]


def test_an_unknown_name_is_answered_with_near_ones_and_all_ones() -> None:
    registry: Registry[RecipeSpec] = Registry("recipe")
    registry.add(recipe("nguyen2017"), OURS)
    registry.add(recipe("resnet"), OURS)
    with pytest.raises(PluginError) as caught:
        registry.get("nguyen2016")
    assert caught.value.code is ErrorCode.UNKNOWN_NAME
    assert caught.value.message == ("no recipe 'nguyen2016'; did you mean 'nguyen2017'? known: nguyen2017, resnet")
    with pytest.raises(PluginError):
        registry.provenance("nguyen2016")


def test_an_unknown_name_among_none_says_none() -> None:
    assert unknown_name("sink", "x", {}).message == "no sink 'x'; known: none"


def test_settings_errors_name_the_key_as_it_was_written() -> None:
    with pytest.raises(SettingsError, match=r"^plugins\.p\.inner\.size: .*greater than or equal to 1"):
        validate_settings(Outer, {"inner": {"size": 0}}, "plugins.p")
    with pytest.raises(SettingsError, match=r"^plugins\.p\.outer: Extra inputs"):
        validate_settings(Outer, {"outer": 1}, "plugins.p")


def test_valid_settings_come_back_as_the_model() -> None:
    assert validate_settings(Outer, {"inner": {"size": 3}}, "p") == Outer(inner=Nested(size=3))


def test_a_plugin_without_settings_takes_no_key() -> None:
    assert validate_settings(NoSettings, {}, "p") == NoSettings()
    with pytest.raises(SettingsError, match=r"p\.x"):
        validate_settings(NoSettings, {"x": 1}, "p")
