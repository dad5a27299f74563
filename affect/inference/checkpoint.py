"""Weights and what must travel with them: a safetensors file and a JSON sidecar of the same name.

The sidecar carries everything serving needs to agree with training: input size, normalisation, crop geometry,
label order and calibration; and everything a reader needs to judge it: metrics with intervals, data, licence.
No pickle is ever loaded.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save

from affect.errors import CheckpointError, first_problem
from affect.inference.calibration import same_calibration
from affect.labels import EMOTIONS
from affect.settings.fit import LearnerFit
from affect.types import Calibration, CropGeometry

LANDMARKS = 5
"""Eyes, nose, corners of the mouth."""


class InputSpec(BaseModel):
    """The tensor a backend wants: [N, channels, size, size], (pixel / 255 - mean) / std, faces placed by `crop`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=8, le=512, description="Side of the square input in pixels.")
    channels: int = Field(description="1 for grey, 3 for RGB.")
    mean: tuple[float, ...] = Field(description="Per channel, on the 0-1 scale.")
    std: tuple[float, ...] = Field(description="Per channel, on the 0-1 scale.")
    crop: CropGeometry = Field(description="Where eyes, nose and mouth lie in the crop.")

    @model_validator(mode="after")
    def _channels_agree(self) -> "InputSpec":
        if self.channels not in (1, 3):
            raise ValueError(f"channels is 1 or 3, not {self.channels}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean and std need {self.channels} numbers each, got {len(self.mean)} and {len(self.std)}"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ValueError(f"mean and std must be finite and std positive, got {self.mean} and {self.std}")
        points = self.crop.landmarks
        finite = all(math.isfinite(value) for point in points for value in point)
        if not finite or len(points) != LANDMARKS or len(set(points)) != LANDMARKS:
            raise ValueError(f"crop.landmarks are {LANDMARKS} different points, got {points}")
        return self


class Metric(BaseModel):
    """A figure with its 95 % interval, the split it was measured on and the number of faces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    ci95: tuple[float, float] | None = None
    split: str
    n: int


class Sidecar(BaseModel):
    """The JSON beside a weights file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict, description="What the architecture's class is called with.")
    parameters: int
    input: InputSpec
    labels: tuple[str, ...] = tuple(e.value for e in EMOTIONS)
    temperature: float = Field(gt=0, allow_inf_nan=False, description="Logits are divided by it before the softmax.")
    power: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Exponent: logits = -(-log softmax(output)) ** power; 1 leaves the output as it is.",
    )
    weights_sha256: str
    metrics: dict[str, Metric] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    data: str = ""
    licence: str = ""
    predictions: str | None = Field(
        default=None, description="File beside this one: probabilities and labels of the validation faces."
    )
    learner: LearnerFit | None = Field(
        default=None, description="What `affect-train learner fit` found for these weights."
    )

    @property
    def calibration(self) -> Calibration:
        """Temperature and power."""
        return Calibration(self.temperature, self.power)

    @model_validator(mode="after")
    def _labels_agree(self) -> "Sidecar":
        expected = tuple(e.value for e in EMOTIONS)
        if self.labels != expected:
            raise ValueError(f"labels must be {expected}, got {self.labels}")
        return self


def sidecar_path(weights: Path) -> Path:
    """Return the path of the sidecar that belongs to a weights file."""
    return weights.with_suffix(".json")


def weights_bytes(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float16) -> bytes:
    """Return the content of the weights file that `save_checkpoint` writes."""
    return save(
        {name: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous() for name, t in tensors.items()}
    )


def save_checkpoint(
    weights: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    dtype: torch.dtype = torch.float16,
    beside: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Sidecar:
    """Write weights and sidecar, all files or none.

    What `affect-train learner fit` found for weights that were there before stays when the new ones are the same, byte
    for byte, and calibrated alike; otherwise it goes, with its heads.

    Args:
        weights: Path ending in `.safetensors`; the sidecar takes its place with `.json`.
        tensors: State dict; floating tensors are stored as `dtype`.
        beside: Further files in the same folder, name and content.
        fields: The rest of `Sidecar`, without `weights_sha256`.

    Returns:
        The sidecar as written.

    Raises:
        CheckpointError: They cannot be written (the disk is full, say); what was there before is intact.
    """
    data = weights_bytes(tensors, dtype)
    before = _replaced(weights)
    sidecar = Sidecar(weights_sha256=hashlib.sha256(data).hexdigest(), **fields)
    if before is not None and sidecar.learner is None and _same_answers(before, sidecar):
        sidecar = sidecar.model_copy(update={"learner": before.learner})
    text = json.dumps(sidecar.model_dump(mode="json"), indent=2) + "\n"
    further = {weights.with_name(name): content for name, content in (beside or {}).items()}
    write_together({**further, weights: data, sidecar_path(weights): text.encode()})
    if sidecar.learner is None:
        heads_path(weights).unlink(missing_ok=True)
    return sidecar


def _same_answers(one: Sidecar, other: Sidecar) -> bool:
    """Whether two sidecars stand for the same probabilities, so that what was fitted on those of one holds."""
    same = one.weights_sha256 == other.weights_sha256 and one.input == other.input
    return same and same_calibration(one.calibration, other.calibration)


def heads_path(document: Path) -> Path:
    """Return where the heads lie of a fit that is in a document, or in the sidecar of weights."""
    return document.with_name(f"{document.stem}.learner.safetensors")


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: each under another name first, then all take their places.

    Raises:
        CheckpointError: One could not be written; what was there before is intact.
    """
    partials = {path: path.with_name(f"{path.name}.partial") for path in files}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partials[path].write_bytes(content)
        for path, partial in partials.items():
            partial.replace(path)
    except OSError as exc:
        raise CheckpointError(f"{next(iter(files)).parent}: {exc}; what was there before is intact") from exc
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _replaced(weights: Path) -> Sidecar | None:
    """Return the sidecar that is about to be replaced; None when there is none, or none that can be read."""
    try:
        return load_sidecar(weights)
    except CheckpointError:
        return None


def load_sidecar(weights: Path) -> Sidecar:
    """Read the sidecar of a weights file.

    Raises:
        CheckpointError: It is missing or does not describe a checkpoint; the message names the file and field.
    """
    path = sidecar_path(weights)
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except FileNotFoundError as exc:
        raise CheckpointError(f"{weights.name}: no sidecar {path}; weights need the JSON they came with") from exc
    except ValidationError as exc:
        raise CheckpointError(f"{path}: {first_problem(exc, 'file')}") from exc


def load_checkpoint(weights: Path) -> tuple[dict[str, torch.Tensor], Sidecar]:
    """Read weights (as float32) and sidecar.

    Raises:
        CheckpointError: A file is missing, is no safetensors file (a pickle, say), or sidecar and weights differ.
    """
    sidecar = load_sidecar(weights)
    try:
        content = weights.read_bytes()
        tensors = load(content)
    except FileNotFoundError as exc:
        raise CheckpointError(f"{weights}: no such weights file") from exc
    except SafetensorError as exc:
        raise CheckpointError(f"{weights}: not a safetensors file ({exc}); pickles are never loaded") from exc
    if hashlib.sha256(content).hexdigest() != sidecar.weights_sha256:
        raise CheckpointError(f"{weights}: weights do not match their sidecar {sidecar_path(weights).name} (sha256)")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, sidecar
