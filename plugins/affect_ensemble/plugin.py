"""Registers the backend `ensemble`. No torch until it is created."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from affect.hookspecs import hookimpl
from affect.registry import BackendSpec, Context

if TYPE_CHECKING:
    from affect.inference.backend import Backend

SHIPPED = Path(__file__).parent / "weights" / "members.json"
"""The ensemble that comes with the package, if one does."""


class EnsembleSettings(BaseModel):
    """Settings of the backend `ensemble`; what is not set is as the manifest says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Who votes
    members: tuple[str, ...] = Field(
        default=(), description="Backends by name or weights file, the most useful first; in place of a manifest."
    )
    manifest: Path | None = Field(
        default=None, description="JSON file of `affect-train ensemble`; the shipped one when neither is set."
    )
    # How
    vote: Literal["soft", "weighted", "majority"] | None = Field(
        default=None, description="Mean of the probabilities, weighted mean, or most voices (ties by the mean)."
    )
    weights: tuple[float, ...] = Field(default=(), description="One for each member; makes the vote weighted.")
    temperature: float | None = Field(default=None, gt=0, description="Calibration of the vote; 1 without a manifest.")
    mirror: bool | None = Field(
        default=None, description="Ask each member about the face and its mirror image; yes without a manifest."
    )
    # How much of it
    max_members: int | None = Field(default=None, ge=1, description="Only so many, the most useful first.")
    budget_ms: float | None = Field(
        default=None, gt=0, description="As many as answer a batch in this time, measured once; one at least."
    )
    budget_faces: int = Field(default=8, ge=1, description="Faces in the batch that the budget is for.")
    stacked: Literal["auto", "always", "never"] = Field(
        default="auto", description="Members of one network in one pass; auto: on CUDA, as it is slower on a CPU."
    )

    @model_validator(mode="after")
    def _one_source_one_weight_each(self) -> Self:
        if self.members and self.manifest is not None:
            raise ValueError("members and manifest are both set; members are those of the manifest or those listed")
        if self.members and self.weights and len(self.weights) != len(self.members):
            raise ValueError(f"weights has {len(self.weights)} numbers for {len(self.members)} members")
        if self.weights and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError(f"weights are not negative and not all zero, got {self.weights}")
        if self.weights and self.vote in ("soft", "majority"):
            raise ValueError(f"weights are for vote = weighted, not {self.vote}")
        return self


@hookimpl
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Register ensemble."""
    register(
        BackendSpec(
            "ensemble",
            _create,
            "Several backends vote, each on face and mirror image",
            EnsembleSettings,
            opens={".json": "manifest"},
            opens_without=("members", "weights"),
        )
    )


def _create(ctx: Context) -> "Backend":
    from affect_ensemble.backend import EnsembleBackend
    from affect_ensemble.manifest import plan_of

    assert isinstance(ctx.settings, EnsembleSettings)
    plan = plan_of(ctx.settings, SHIPPED)
    members = [ctx.backend(member.reference) for member in plan.members]
    return EnsembleBackend(
        plan,
        members,
        ctx.device,
        # A number of members is a promise; the time is only measured where there is none.
        budget_ms=None if ctx.settings.max_members else ctx.settings.budget_ms,
        budget_faces=ctx.settings.budget_faces,
        stacked=ctx.settings.stacked == "always" or (ctx.settings.stacked == "auto" and ctx.device.is_cuda),
    )
