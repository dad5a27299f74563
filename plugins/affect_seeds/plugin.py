"""Registers the recipes of the published systems. No torch until one of them is trained or loaded."""

from collections.abc import Callable

from affect.hookspecs import hookimpl
from affect.registry import RecipeSpec
from affect_seeds.recipes import alizadeh, boulis, khaburska, report003


@hookimpl
def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
    """Register the recipes of Alizadeh & Fazel, Boulis et al., the unsigned report, and Khaburska & Yurkiv."""
    for source in (alizadeh, boulis, report003, khaburska):
        for recipe in source.RECIPES:
            register(recipe)
