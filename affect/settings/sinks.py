"""Settings of the bundled sinks."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class JsonlSettings(BaseModel):
    """Settings of the sink `jsonl`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(default=Path("affect-events"), description="Where SESSION.events.jsonl files are appended to.")
