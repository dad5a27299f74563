"""The recipes by name, and a network of one at a size that a test can wait for."""

import pytest
from affect_seeds.recipes import alizadeh, boulis, khaburska, report003

from affect.registry import RecipeSpec


@pytest.fixture(scope="session")
def recipes() -> dict[str, RecipeSpec]:
    """All recipes of the package."""
    return {r.name: r for source in (alizadeh, boulis, report003, khaburska) for r in source.RECIPES}
