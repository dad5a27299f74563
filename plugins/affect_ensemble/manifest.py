"""Who votes and how: the manifest that `affect-train ensemble` writes, or the lists of the settings.

A manifest is JSON: members in the order of their usefulness, each with its weight and the temperature of the ensemble
that ends with it. Files are named relative to the manifest, so that the folder can be moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from affect.errors import SettingsError, first_problem
from affect.inference.checkpoint import Metric
from affect.inference.voting import Vote
from affect.types import Calibration
from affect_ensemble.plugin import EnsembleSettings


class Member(BaseModel):
    """One voter of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str | None = Field(default=None, description="A registered backend.")
    file: Path | None = Field(default=None, description="Or a weights file, relative to the manifest.")
    weight: float = Field(ge=0)
    temperature: float = Field(gt=0, description="Of the vote of the members up to this one.")
    weights_sha256: str | None = Field(default=None, description="Of the weights the vote was fitted on.")
    calibration: Calibration | None = Field(default=None, description="Temperature and power of these weights.")
    metrics: dict[str, Metric] = Field(default_factory=dict, description="Of the vote of the members up to this one.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.backend is None) == (self.file is None):
            raise ValueError("a member has a backend or a file")
        return self


class Manifest(BaseModel):
    """An ensemble as it was found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    vote: Vote
    mirror: bool
    members: tuple[Member, ...] = Field(min_length=1)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    selection: dict[str, Any] = Field(default_factory=dict, description="How it was found, and what it gained.")


@dataclass(frozen=True, slots=True)
class Voter:
    """A member as the backend needs it: what creates it, its weight, the temperature of the vote that ends with it.

    `metrics` are the manifest's, of that vote; empty when the settings made it another vote.
    """

    reference: str
    weight: float
    temperature: float
    weights_sha256: str | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Members, the most useful first, and how they vote; how they were found, unless the settings changed the vote."""

    members: tuple[Voter, ...]
    vote: Vote
    mirror: bool
    selection: Mapping[str, Any] = field(default_factory=dict)

    def as_manifest(self, count: int) -> dict[str, Any]:
        """Return the vote of the first members as the content of a manifest; a member is named as it was created."""
        voters = self.members[:count]
        return {
            "format": 1,
            "vote": self.vote,
            "mirror": self.mirror,
            "members": [
                {
                    "backend": voter.reference,
                    "weight": voter.weight,
                    "temperature": voter.temperature,
                    "weights_sha256": voter.weights_sha256,
                    "calibration": voter.calibration,
                    "metrics": _plain(voter.metrics),
                }
                for voter in voters
            ],
            "metrics": _plain(voters[-1].metrics) if voters else {},
            "selection": dict(self.selection),
        }


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        SettingsError: No such file, or it is none; names file and field.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise SettingsError(f"plugins.ensemble.manifest: {path}: {exc.strerror or exc}") from exc
    except ValidationError as exc:
        raise SettingsError(f"plugins.ensemble.manifest: {path}: {first_problem(exc, 'file')}") from exc


def plan_of(settings: EnsembleSettings, shipped: Path) -> Plan:
    """Decide who votes and how.

    Args:
        settings: Listed members, or a manifest; other settings win over the manifest's.
        shipped: The manifest when the settings name neither.

    Raises:
        SettingsError: There are no members, or the manifest is wrong.
    """
    manifest = settings.manifest or (shipped if shipped.is_file() else None)
    if settings.members:
        plan = Plan(
            tuple(Voter(reference, 1.0, 1.0) for reference in settings.members),
            "soft",
            mirror=True,
        )
    elif manifest is not None:
        plan = _from_manifest(read_manifest(manifest), manifest.resolve().parent)
    else:
        raise SettingsError(
            "plugins.ensemble has no members; list backends or weights files, best first: plugins.ensemble.members = "
            '["cnn", "mine.safetensors"], or set plugins.ensemble.manifest to a file of `affect-train ensemble`'
        )
    return _changed(plan, settings)


def _from_manifest(manifest: Manifest, folder: Path) -> Plan:
    return Plan(
        tuple(
            Voter(
                m.backend or str(folder / (m.file or "")),
                m.weight,
                m.temperature,
                m.weights_sha256,
                m.metrics,
                m.calibration,
            )
            for m in manifest.members
        ),
        manifest.vote,
        mirror=manifest.mirror,
        selection=manifest.selection,
    )


def _changed(plan: Plan, settings: EnsembleSettings) -> Plan:
    """Let the settings win.

    Another vote than the manifest's is not calibrated by the manifest's temperatures, and has none of its figures.
    """
    vote: Vote = settings.vote or ("weighted" if settings.weights else plan.vote)
    weights = settings.weights or tuple(member.weight for member in plan.members)
    if len(weights) != len(plan.members):
        raise SettingsError(f"plugins.ensemble.weights has {len(weights)} numbers for {len(plan.members)} members")
    same = vote == plan.vote and not settings.weights
    mirror = plan.mirror if settings.mirror is None else settings.mirror
    measured = same and mirror == plan.mirror and settings.temperature is None
    members = tuple(
        Voter(
            member.reference,
            weight if vote == "weighted" else 1.0,
            settings.temperature or (member.temperature if same else 1.0),
            member.weights_sha256,
            member.metrics if measured else {},
            member.calibration,
        )
        for member, weight in zip(plan.members, weights, strict=True)
    )
    members = members[: settings.max_members]
    if sum(member.weight for member in members) <= 0:
        raise SettingsError("plugins.ensemble: the first members all have weight 0; allow more max_members")
    return Plan(members, vote, mirror=mirror, selection=plan.selection if measured else {})


def _plain(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: metric.model_dump(mode="json") for name, metric in metrics.items()}
