"""Registers the backend `cnn` and the recipes of its network. No torch until it is created."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from affect.hookspecs import hookimpl
from affect.registry import BackendSpec, Context, RecipeSpec
from affect_cnn.recipe import NGUYEN2017, NGUYEN2017_PLAIN

if TYPE_CHECKING:
    from affect.inference.backend import Backend

WEIGHTS = Path(__file__).parent / "weights" / "cnn.safetensors"


class CnnSettings(BaseModel):
    """Settings of the backend `cnn`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path = Field(default=WEIGHTS, description="A safetensors file of Nguyen's network with its sidecar.")


@hookimpl
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Register cnn."""
    register(
        BackendSpec("cnn", _create, "Nguyen 2017, 5.0 M parameters, from scratch on FER2013", CnnSettings, WEIGHTS)
    )


@hookimpl
def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
    """Register the recipes of Nguyen's report."""
    register(NGUYEN2017)
    register(NGUYEN2017_PLAIN)


def _create(ctx: Context) -> "Backend":
    from affect.inference.torch_backend import TorchBackend
    from affect_cnn.model import Nguyen2017

    assert isinstance(ctx.settings, CnnSettings)
    return TorchBackend(Nguyen2017, ctx.settings.weights, ctx.device)
