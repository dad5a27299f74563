"""One table over all backends: what each costs and how right it is. Every figure comes from a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affect_training.report.facts import CardFacts
from affect_training.report.markdown import table

HEAD = (
    "backend", "parameters", "MB", "ms a face, batch 1 / 8", "PublicTest, single view", "with mirror",
    "without shared photographs", "macro-F1", "ECE", "found / right in whole pictures", "training minutes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A backend of the table.

    Attributes:
        facts: Of its card.
        single, mirror: Contents of `evaluate --json`, one view and two.
        unseen: The same, one view (of an ensemble as it votes), of the faces that share no photograph with Training.
        whole: Contents of `fullframe --json`.
        speed: `{"batch_1": ms a face, "batch_8": …, "device": …}`.
    """

    facts: CardFacts
    single: Mapping[str, Any]
    mirror: Mapping[str, Any]
    unseen: Mapping[str, Any]
    whole: Mapping[str, Any]
    speed: Mapping[str, Any]


def read_row(facts: CardFacts, folder: Path) -> Row:
    """Read a backend's figures, `FOLDER/NAME.*.json`."""
    kinds = ("single", "mirror", "unseen", "whole", "speed")
    files = (folder / f"{facts.name}.{kind}.json" for kind in kinds)
    return Row(facts, *(json.loads(file.read_text(encoding="utf-8")) for file in files))


def overview(rows: Sequence[Row]) -> str:
    """Return the Markdown page."""
    devices = sorted({str(row.speed["device"]) for row in rows})
    lines = [
        "# Models",
        "",
        f"What ships, on the {rows[0].single['n']:,} faces of FER2013's PublicTest, on which epochs, calibrations and "
        "votes were chosen too. Some of its photographs are in Training as well (`affect-train data leaks`), and are "
        f"remembered: the figures without them are of {rows[0].unseen['n']:,} faces, and nearer to what to expect. "
        "ECE: each half of the faces calibrated by the other. In macro-F1, ECE, time, whole pictures and without "
        "shared photographs an ensemble is as it serves, with its mirror; the others are single views. Found and "
        "right in whole pictures: `affect-train fullframe --unseen`, 700 of these faces. Milliseconds are the forward "
        "pass alone, on "
        f"{' and '.join(devices)}; minutes are of the training, on one or two such cores shared with other work.",
        "",
        *table(HEAD, (_cells(row) for row in rows)),
        "",
        "Made by `affect-train models`, from the files in [figures](figures).",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    facts, whole = row.facts, row.whole
    served = row.mirror if facts.served_views == "mirror" else row.single
    members = [member.facts for member in facts.members if member.facts]
    parameters = facts.parameters or sum(member.parameters or 0 for member in members)
    megabytes = facts.megabytes or sum(member.megabytes or 0 for member in members)
    minutes = [_minutes(facts)] if not members else [_minutes(member) for member in members]
    return (
        f"[`{facts.name}`]({facts.name}.md)",
        f"{parameters / 1e6:.1f} M",
        f"{megabytes:.1f}",
        f"{row.speed['batch_1']:.1f} / {row.speed['batch_8']:.1f}",
        _accuracy(row.single),
        _accuracy(row.mirror),
        _accuracy(row.unseen),
        f"{served['macro_f1']:.3f}",
        f"{served['ece_cross_fitted']:.3f}",
        f"{whole['recall']:.1%} / {whole['accuracy_tracked']:.1%} (directly {whole['accuracy_direct']:.1%})",
        "unknown" if None in minutes else f"{sum(m for m in minutes if m is not None):.0f}" + _and_before(facts),
    )


def _and_before(facts: CardFacts) -> str:
    """Say that a run's minutes are not all: it, or a member, went on from weights of an earlier run."""
    runs = [member.facts for member in facts.members if member.facts] or [facts]
    return " + its start's" if any(str(run.config.get("init")).endswith(".safetensors") for run in runs) else ""


def _minutes(facts: CardFacts) -> float | None:
    found = facts.training.get("minutes")
    return float(found) if isinstance(found, int | float) else None


def _accuracy(figures: Mapping[str, Any]) -> str:
    low, high = figures["accuracy_ci95"]
    return f"{figures['accuracy']:.1%} ({100 * low:.1f}-{100 * high:.1f})"
