"""Registers the backends of fine-tuned networks and their recipes. No torch until one is created."""

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
MOBILENET_WEIGHTS = WEIGHTS.with_name("mobilenet-face.safetensors")


class ResNetSettings(BaseModel):
    """Settings of the backend `resnet`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path = Field(
        default=WEIGHTS,
        description="A safetensors file of a network of this plugin with its sidecar, which says of which.",
    )


class MobileNetSettings(BaseModel):
    """Settings of the backend `mobilenet-face`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path = Field(
        default=MOBILENET_WEIGHTS, description="A safetensors file of a network of this plugin with its sidecar."
    )


@hookimpl
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Register each backend whose weights are installed: a name on offer must work."""
    if MOBILENET_WEIGHTS.is_file():
        register(
            BackendSpec(
                "mobilenet-face",
                _create,
                "A MobileNet that knew face identities, 3.2 M parameters, fine-tuned on FER2013 and outside faces",
                MobileNetSettings,
                MOBILENET_WEIGHTS,
            )
        )
    if WEIGHTS.is_file():
        register(
            BackendSpec(
                "resnet",
                _create,
                "dlib's face ResNet, 5.6 M parameters, fine-tuned on FER2013 and outside faces",
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

    assert isinstance(ctx.settings, ResNetSettings | MobileNetSettings)
    return backend_from_weights(ctx.settings.weights, ctx.device, {recipe.architecture for recipe in RECIPES})
