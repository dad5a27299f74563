"""Registers the backends `cnn` and `compact` and the recipes of their networks. No torch until one is created."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from affect.hookspecs import hookimpl
from affect.registry import BackendSpec, Context, RecipeSpec
from affect_cnn.recipe import COMPACT, NGUYEN2017, NGUYEN2017_PLAIN, NGUYEN2017_X5

if TYPE_CHECKING:
    from affect.inference.backend import Backend

WEIGHTS = Path(__file__).parent / "weights" / "cnn.safetensors"
COMPACT_WEIGHTS = WEIGHTS.with_name("compact.safetensors")


class CnnSettings(BaseModel):
    """Settings of the backend `cnn`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path = Field(default=WEIGHTS, description="A safetensors file of Nguyen's network with its sidecar.")


class CompactSettings(BaseModel):
    """Settings of the backend `compact`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path = Field(default=COMPACT_WEIGHTS, description="A safetensors file of the network with its sidecar.")


@hookimpl
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Register cnn, and compact where its weights are installed: a name on offer must work."""
    register(
        BackendSpec("cnn", _create, "Nguyen 2017, 5.0 M parameters, from scratch on FER2013", CnnSettings, WEIGHTS)
    )
    if COMPACT_WEIGHTS.is_file():
        summary = "Our residual network, 5.0 M parameters, from scratch on FER2013 and outside faces"
        register(BackendSpec("compact", _create_compact, summary, CompactSettings, COMPACT_WEIGHTS))


@hookimpl
def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
    """Register the recipes of Nguyen's report and our own."""
    register(NGUYEN2017)
    register(NGUYEN2017_PLAIN)
    register(NGUYEN2017_X5)
    register(COMPACT)


def _create(ctx: Context) -> "Backend":
    from affect.inference.from_weights import backend_from_weights

    assert isinstance(ctx.settings, CnnSettings)
    return backend_from_weights(ctx.settings.weights, ctx.device, {NGUYEN2017.architecture})


def _create_compact(ctx: Context) -> "Backend":
    from affect.inference.from_weights import backend_from_weights

    assert isinstance(ctx.settings, CompactSettings)
    return backend_from_weights(ctx.settings.weights, ctx.device, {COMPACT.architecture})
