"""All settings under one roof; the tables of `affect.toml` are its fields."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from affect.settings.learner import LearnerSettings
from affect.settings.service import ServiceSettings
from affect.settings.vision import VisionSettings

_FILES = (".safetensors", ".json", ".pt", ".pth", ".ckpt", ".bin", ".pkl")


def weights_path(backend: str) -> Path | None:
    """Return the path when a backend is given as a weights file, None when by its registered name."""
    return Path(backend) if "/" in backend or "\\" in backend or backend.lower().endswith(_FILES) else None


class InferenceSettings(BaseModel):
    """The backend and the device it runs on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str = Field(
        default="compact", description="Name of a registered backend, a .safetensors file, or an ensemble's .json."
    )
    device: str = Field(default="auto", description="auto | cpu | cuda:N")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="auto takes bfloat16 where the hardware is fast at it."
    )
    max_batch: int = Field(default=64, ge=1, description="Frames in one batch at most.")
    decode_threads: int = Field(default=0, ge=0, description="0 takes half the cores, at most 8.")
    torch_threads: int = Field(default=0, ge=0, description="Threads of one torch operation; 0 leaves torch's choice.")

    @property
    def backend_word(self) -> str:
        """The backend in one word: its name, or that of its weights file; where the file lies is nobody's business."""
        path = weights_path(self.backend)
        return self.backend if path is None else path.stem


class PluginSettings(BaseModel):
    """Which plugins load, and their own tables `[plugins.NAME]`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    allow: tuple[str, ...] | None = Field(default=None, description="Only these plugins load; all when not set.")
    block: tuple[str, ...] = Field(default=(), description="These plugins do not load.")
    prefer: dict[str, str] = Field(
        default_factory=dict, description="{name: distribution} when two distributions register one name."
    )
    sinks: tuple[str, ...] = Field(default=(), description="Sinks that get every event.")

    def of(self, name: str) -> dict[str, Any]:
        """Return the table of one backend, detector, estimator or sink."""
        table = (self.model_extra or {}).get(name, {})
        return dict(table) if isinstance(table, dict) else {"": table}


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vision: VisionSettings = Field(default_factory=VisionSettings)
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    learner: LearnerSettings = Field(default_factory=LearnerSettings)
    service: ServiceSettings = Field(default_factory=ServiceSettings)
    plugins: PluginSettings = Field(default_factory=PluginSettings)
