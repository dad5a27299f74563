"""Registers the backend `resnet` and the recipes of pretrained networks. No torch until it is created."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from affect.hookspecs import hookimpl
from affect.registry import BackendSpec, Context, RecipeSpec
from affect_resnet.recipe import RECIPES

if TYPE_CHECKING:
    from affect.inference.backend import Backend

WEIGHTS = Path(__file__).parent / "weights" / "resnet.safetensors"


class ResNetSettings(BaseModel):
    """Settings of the backend `resnet`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path = Field(
        default=WEIGHTS,
        description="A safetensors file of a network of this plugin with its sidecar, which says of which.",
    )


@hookimpl
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Register resnet, where its weights are installed: a name on offer must work."""
    if WEIGHTS.is_file():
        register(
            BackendSpec(
                "resnet",
                _create,
                "dlib's face ResNet, 5.6 M parameters, fine-tuned on FER2013",
                ResNetSettings,
                WEIGHTS,
            )
        )


@hookimpl
def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
    """Register the fine-tunes."""
    for recipe in RECIPES:
        register(recipe)


def _create(ctx: Context) -> "Backend":
    from affect.inference.from_weights import backend_from_weights

    assert isinstance(ctx.settings, ResNetSettings)
    return backend_from_weights(ctx.settings.weights, ctx.device, {recipe.architecture for recipe in RECIPES})
