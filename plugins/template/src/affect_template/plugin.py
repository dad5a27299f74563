"""Registers the backend. Keep torch out of this file, so that listing plugins stays fast."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from affect import hookimpl
from affect.registry import BackendSpec, Context

if TYPE_CHECKING:
    from affect.inference.backend import Backend


class MirrorSettings(BaseModel):
    """`[plugins.template-mirror]` of affect.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: str = Field(default="cnn", description="The backend that is asked twice.")


@hookimpl
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Register template-mirror."""
    register(BackendSpec("template-mirror", create, "Example: mean of a view and its mirror image", MirrorSettings))


def create(ctx: Context) -> "Backend":
    """Build the backend; called once, when it is used."""
    from affect_template.backend import MirrorBackend

    assert isinstance(ctx.settings, MirrorSettings)
    return MirrorBackend(ctx.backend(ctx.settings.of))
