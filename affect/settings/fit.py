"""What `affect-train learner fit` finds for one backend: a document, in the backend's sidecar or a file of its own.

The numbers of the heads are too many for JSON; they lie in a safetensors file beside the document.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from affect.labels import EMOTIONS, STATES, LearnerState
from affect.types import Calibration

_FROZEN = ConfigDict(extra="forbid", frozen=True)


class HeadsFile(BaseModel):
    """Where the heads of a fit lie and what they read."""

    model_config = _FROZEN

    file: str = Field(description="Name of the safetensors file beside the document.")
    sha256: str
    states: tuple[LearnerState, ...] = Field(min_length=1)
    embedding: int = Field(ge=0, description="Length of the backend's embedding; 0 when the heads do without.")
    readings: tuple[str, ...] = Field(description="What they read besides, see `affect.learner.heads.READINGS`.")

    @model_validator(mode="after")
    def _plain_name(self) -> Self:
        if "/" in self.file or "\\" in self.file:
            raise ValueError(f"file is a name without folders, got {self.file!r}")
        return self


class StateFigures(BaseModel):
    """Areas under the ROC curve by state, each with its 95 % interval over people; None where a class is missing."""

    model_config = _FROZEN

    auc: dict[LearnerState, float | None]
    auc_ci95: dict[LearnerState, tuple[float, float] | None]
    auc_per_person: dict[LearnerState, float | None]
    auc_per_person_ci95: dict[LearnerState, tuple[float, float] | None]
    auc_within_person: dict[LearnerState, float | None]
    auc_within_person_ci95: dict[LearnerState, tuple[float, float] | None]
    faces: int
    people: int


class LearnerFit(BaseModel):
    """Emission matrix and heads fitted on labelled faces, for one backend's weights."""

    model_config = _FROZEN

    format: Literal[1] = 1
    backend: str = Field(description="The backend's name when it was fitted.")
    weights_sha256: str | None = Field(description="Of the weights it was fitted for; None when they are not one file.")
    calibration: Calibration | None = Field(
        default=None, description="Temperature and power these weights had; None in older fits, or without weights."
    )
    emission: dict[LearnerState, tuple[float, ...]] = Field(description="P(emotion | state), rows sum to 1.")
    emission_prior: float = Field(ge=0, description="Faces that the design's row of a state counts as.")
    heads: HeadsFile | None = None
    data: str = Field(description="What it was fitted on, in words.")
    data_sha256: str
    faces: int
    people: int
    method: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, StateFigures] = Field(
        default_factory=dict, description="Cross-validated by person on the same data, by what was scored."
    )
    made_with: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""

    @model_validator(mode="after")
    def _emission_is_a_matrix(self) -> Self:
        if set(self.emission) != set(STATES):
            raise ValueError(f"emission must have a row for each of {', '.join(STATES)}")
        for state, row in self.emission.items():
            if len(row) != len(EMOTIONS) or min(row) <= 0 or abs(sum(row) - 1) > 0.02:
                raise ValueError(f"emission.{state} must be {len(EMOTIONS)} positive numbers that sum to 1, got {row}")
        return self
