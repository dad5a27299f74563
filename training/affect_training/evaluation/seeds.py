"""Figures of several runs of one thing: read from run folders or from the JSON of `affect-train evaluate`."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affect.errors import CheckpointError, MediaError, SettingsError
from affect_training.evaluation.significance import MeanSd, mean_sd
from affect_training.run_record import RUN_JSON, RunRecord
from affect_training.selection import is_over, selection_score, watched

REPORTED = (
    *("accuracy", "macro_f1", "macro_recall", "kappa"),
    *("ece_cross_fitted", "ece", "ece_uncalibrated", "nll_cross_fitted", "nll"),
)
"""Figures taken from an evaluation's JSON, as far as it has them."""

LOGGED = {"public_accuracy": "accuracy", "public_macro_recall": "macro_recall", "public_loss": "loss"}
"""Columns of a run's log.csv, and what they are called here."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run's figures, what they were measured on, and the run's settings where they are known.

    Attributes:
        n, limit: Faces, and how many were asked for when they are a sample; None when unknown, or when all were taken.
        weights_sha256: Of the weights an evaluation judged; None of a run, or when unknown.
        unfinished: Why a run is not at its end; None when it is, or of an evaluation.
        unseen: Whether faces that share a photograph with Training were left out.
    """

    name: str
    split: str
    tta: str
    data_sha256: str | None
    n: int | None
    limit: int | None
    values: dict[str, float]
    settings: dict[str, Any] | None = None
    weights_sha256: str | None = None
    unfinished: str | None = None
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """The runs, each figure that all have as mean and deviation, and what a reader should know about them."""

    runs: tuple[Figures, ...]
    figures: dict[str, MeanSd]
    notes: tuple[str, ...]


def summarise(paths: Sequence[Path]) -> Summary:
    """Read run folders or JSON files and summarise what they share.

    Raises:
        MediaError: One of them is neither.
        SettingsError: They were measured on different splits, data, faces or views, or one is given twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise SettingsError(f"expected different runs, got one twice: {', '.join(map(str, paths))}")
    runs = tuple(read_figures(path) for path in paths)
    for what in ("split", "tta", "data_sha256", "n", "limit", "unseen"):
        found = {str(getattr(run, what)): run.name for run in runs}
        if len(found) > 1:
            told = "; ".join(f"{name}: {value}" for value, name in found.items())
            raise SettingsError(f"expected runs measured alike, but they differ in {what}: {told}")
    shared = [key for key in runs[0].values if all(key in run.values for run in runs)]
    figures = {key: mean_sd([run.values[key] for run in runs]) for key in shared}
    return Summary(runs, figures, tuple(_notes(runs)))


def read_figures(path: Path) -> Figures:
    """Read a run folder (its best epoch on PublicTest) or the JSON of an evaluation.

    Raises:
        MediaError: It is neither; says what was expected.
    """
    return _from_run(path) if path.is_dir() else _from_json(path)


def _from_json(path: Path) -> Figures:
    report = _read_json(path)
    if not {"split", "tta", "accuracy"} <= set(report):
        raise MediaError(f"{path}: expected the JSON of `affect-train evaluate`, which has split, tta and accuracy")
    values = {key: float(report[key]) for key in REPORTED if isinstance(report.get(key), int | float)}
    return Figures(
        name=str(path),
        split=str(report["split"]),
        tta=str(report["tta"]),
        data_sha256=report.get("data_sha256"),
        n=report.get("n"),
        limit=report.get("limit"),
        values=values,
        weights_sha256=report.get("weights_sha256"),
        unseen=bool(report.get("unseen")),
    )


def _from_run(folder: Path) -> Figures:
    try:
        record = RunRecord.read(folder)
    except CheckpointError as exc:
        place = folder / RUN_JSON
        raise MediaError(f"{place}: expected a run folder or the JSON of `affect-train evaluate`: {exc}") from exc
    config, log = record.config, folder / "log.csv"
    try:
        with log.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
        best = max(rows, key=lambda row: _score(row, config["train"]))
        unfinished = _unfinished(rows, config["train"])
    except FileNotFoundError:
        raise MediaError(f"{folder}: expected a run folder with run.json and log.csv; there is no log.csv") from None
    except (KeyError, TypeError, ValueError) as exc:
        raise MediaError(f"{log}: expected at least one epoch with the columns {', '.join(LOGGED)}: {exc}") from exc
    values = {name: best[column] for column, name in LOGGED.items() if column in best}
    values["best_epoch"] = best["epoch"]
    return Figures(
        name=str(folder),
        split="PublicTest",
        tta="none",
        data_sha256=record.data_sha256,
        n=record.faces.get("PublicTest"),
        limit=None,
        values=values,
        settings=_flat(config),
        unfinished=unfinished,
    )


def _unfinished(rows: Sequence[Mapping[str, float]], train: Mapping[str, Any]) -> str | None:
    """Say where a run stopped that reached neither its last epoch nor early stopping."""
    done, last = int(rows[-1]["epoch"]), train.get("epochs")
    watch = train.get("watch", "loss")
    best = min(rows, key=lambda row: watched(watch, row["public_loss"], row["public_accuracy"]))
    if last is None or is_over(done, int(best["epoch"]), last, train.get("stop_epochs", 0)):
        return None
    return f"after epoch {done} of {last}"


def _score(row: Mapping[str, float], train: Mapping[str, Any]) -> float:
    """What the run chose its best epoch by."""
    select = train.get("select", "accuracy")
    recall = row["public_macro_recall"] if select == "balanced" else 0.0  # older logs have none
    return selection_score(select, row["public_accuracy"], recall)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise MediaError(f"{path}: expected a run folder or the JSON of `affect-train evaluate`: {exc}") from exc
    if not isinstance(found, dict):
        raise MediaError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _notes(runs: Sequence[Figures]) -> list[str]:
    """Say where the runs are not what a deviation over seeds means: other settings, or the same seed twice."""
    known = [run.settings for run in runs if run.settings is not None]
    keys = sorted({key for settings in known for key in settings})
    differing = [key for key in keys if len({json.dumps(settings.get(key)) for settings in known}) > 1]
    others = [key for key in differing if key != "train.seed"]
    notes = [f"{run.name} is not finished: it stands {run.unfinished}" for run in runs if run.unfinished]
    judged = [run.weights_sha256 for run in runs if run.weights_sha256 is not None]
    if len(set(judged)) < len(judged):
        notes.append("the same weights were judged more than once")
    if others:
        notes.append(f"the runs differ in more than the seed: {', '.join(others)}")
    seeds = [settings.get("train.seed") for settings in known]
    if not others and len(set(seeds)) < len(seeds):
        notes.append(f"the same seed occurs more than once: {', '.join(map(str, seeds))}")
    return notes
