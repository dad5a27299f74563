"""What `affect analyze` keeps of an input beside its results: `NAME.run.json`, and a row in `summary.csv`.

The record is written last: where it is, the other files are whole.
"""

import csv
import hashlib
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affect.analysis import Analysis
from affect.cli.outputs import Writer, beside, write_table
from affect.cloudevents import describe_model, fingerprint
from affect.errors import MediaError
from affect.media import MediaFile, printable
from affect.settings import Settings
from affect.version import __version__
from affect.video import Sampling, VideoFacts


class AnalysisRecord(BaseModel):
    """`NAME.run.json`: what was read, how, and what was found."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str = Field(description="The input as it was given.")
    source: str = Field(description="Its whole path.")
    bytes: int
    modified: int = Field(description="Time of its last change, nanoseconds since 1970.")
    affect: str = Field(description="Version of this package.")
    model: str = Field(description="As in events.")
    config: str = Field(description="As in events.")
    settings: str = Field(description="Fingerprint of all settings and options; `--resume` compares it.")
    every: int
    fps: float | None
    video: VideoFacts | None = Field(description="None for a picture.")
    frames: int = Field(description="Frames analysed.")
    learner_in: int = Field(description="Those with the learner's face.")
    errors: int = Field(description="Those that could not be used.")
    crowded: int = Field(description="Those with several faces.")
    tracks: int = Field(description="Faces that were followed: 1 when it was one person without long breaks.")
    onsets: int
    seconds: float = Field(description="Time taken.")


_FOUND = ("frames", "learner_in", "errors", "crowded", "tracks", "onsets")
_VIDEO = ("width", "height", "video_fps", "duration_s", "undecodable", "pauses", "bridged", "cut_short")
_HOW = ("every", "fps", "model", "config", "affect", "seconds")
SUMMARY_COLUMNS = ("name", "file", "status", "error", *_FOUND, *_VIDEO, *_HOW)


def settings_digest(settings: Settings, sampling: Sampling, *, plot: bool) -> str:
    """Return twelve hex digits that change with whatever changes the results."""
    parts = [__version__, repr(sampling), str(plot)]
    parts += [getattr(settings, name).model_dump_json() for name in ("vision", "inference", "learner", "plugins")]
    weights = Path(settings.inference.backend)
    if weights.suffix and weights.is_file():
        parts.append(str(weights.stat().st_mtime_ns))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def make_record(
    analysis: Analysis, stat: os.stat_result, settings: Settings, sampling: Sampling, *, digest: str, seconds: float
) -> AnalysisRecord:
    """Return the record of a file that was analysed to its end; `stat` is from before it was opened."""
    return AnalysisRecord(
        file=printable(analysis.path),
        source=printable(analysis.path.resolve()),
        bytes=stat.st_size,
        modified=stat.st_mtime_ns,
        affect=__version__,
        model=describe_model(settings),
        config=fingerprint(settings),
        settings=digest,
        every=sampling.every,
        fps=sampling.fps,
        video=analysis.video,
        frames=analysis.frames,
        learner_in=analysis.seen,
        errors=analysis.errors,
        crowded=analysis.crowded,
        tracks=len(analysis.tracks),
        onsets=sum(event.data.phase == "onset" for event in analysis.events),
        seconds=round(seconds, 2),
    )


def write_record(base: Path, record: AnalysisRecord) -> None:
    """Write `BASE.run.json`."""
    with Writer(beside(base, ".run.json")) as file:
        file.write(record.model_dump_json(indent=2) + "\n")


def read_record(base: Path, path: Path) -> AnalysisRecord | None:
    """Return the record of earlier results; None when there is none or it cannot be read.

    Raises:
        MediaError: They are of another file than `path`.
    """
    try:
        record = AnalysisRecord.model_validate_json(beside(base, ".run.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    if record.source != printable(path.resolve()) and not is_of(record, path):
        raise MediaError(f"the results {printable(base)}.* are of {record.source}: choose another folder with -o")
    return record


def is_of(record: AnalysisRecord, path: Path) -> bool:
    """Whether a file is as it was when it was analysed, wherever it lies now."""
    stat = path.stat()
    return (record.bytes, record.modified) == (stat.st_size, stat.st_mtime_ns)


class Summary:
    """`OUT/summary.csv`: a row for each input, kept up to date; rows of inputs of earlier runs stay."""

    def __init__(self, out: Path) -> None:
        self._path = out / "summary.csv"
        self._rows: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) == SUMMARY_COLUMNS:
                    self._rows = {row["name"]: row for row in reader}

    def add(self, file: MediaFile, found: AnalysisRecord | str) -> None:
        """Write the row of an input: what was found, or why nothing was."""
        name = printable(file.name)
        row: dict[str, Any] = dict.fromkeys(SUMMARY_COLUMNS)
        row.update(name=name, file=printable(file.path))
        if isinstance(found, AnalysisRecord):
            row.update(status="done", **{key: getattr(found, key) for key in (*_FOUND, *_HOW)})
            row.update(_video_cells(found.video))
        else:
            row.update(status="failed", error=found)
        self._rows[name] = row
        write_table(self._path, SUMMARY_COLUMNS, list(self._rows.values()))


def _video_cells(video: VideoFacts | None) -> dict[str, Any]:
    if video is None:
        return {}
    return {
        "width": video.width,
        "height": video.height,
        "video_fps": round(video.fps, 4),
        "duration_s": round(video.end_s, 3),
        "undecodable": video.undecodable,
        "pauses": len(video.pauses),
        "bridged": len(video.bridged),
        "cut_short": video.cut_short,
    }
