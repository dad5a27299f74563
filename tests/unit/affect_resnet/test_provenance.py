import pytest
from affect_resnet.provenance import STARTS, licence_notes
from affect_resnet.recipe import RECIPES


def test_every_start_of_a_recipe_is_described() -> None:
    assert set(STARTS) == {scheme for recipe in RECIPES for scheme in recipe.inits}


@pytest.mark.parametrize("init", ["face-api:/somewhere", "human:.", "imagenet"])
def test_the_note_names_package_data_and_licence_but_no_place(init: str) -> None:
    note = licence_notes(init)
    start = STARTS[init.partition(":")[0]]
    for part in (start.title, start.data, start.licence, start.caution):
        assert part in note
    assert "somewhere" not in note


@pytest.mark.parametrize("init", ["none", "weights/mine.safetensors"])
def test_other_starts_need_no_note(init: str) -> None:
    assert licence_notes(init) == ""
