"""affect-train data: what is in a data set, which photographs it holds twice, what they look like."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from affect_training.cli.common import CACHE, console, data_option, existing, prepare_output


@click.group()
def data() -> None:
    """Look at a data set: its classes, its duplicates, its faces."""


@data.command()
@data_option
@click.option("--votes", is_flag=True, help="Also read the FER+ votes beside the data.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def info(data: Path | None, votes: bool, json_file: Path | None) -> None:
    """Count the faces of each split and emotion, blank images, votes; print the hash of the data."""
    from affect_training.data import load_faces

    path = existing(data)
    prepare_output(json_file)
    facts = _facts(path, load_faces(path, CACHE, votes=votes))
    splits = facts["splits"]
    table = Table("", *splits)
    for emotion in next(iter(splits.values()))["classes"]:
        cells = (f"{s['classes'][emotion]} ({s['classes'][emotion] / max(s['faces'], 1):.1%})" for s in splits.values())
        table.add_row(emotion, *cells)
    table.add_section()
    table.add_row("faces", *(str(s["faces"]) for s in splits.values()))
    table.add_row("blank, dropped", *(str(s["blank"]) for s in splits.values()))
    if votes:
        table.add_row("without a FER+ vote", *(str(s["votes"]["none"]) for s in splits.values()))
        table.add_row("FER+ majority = label", *(f"{s['votes']['agree']:.1%}" for s in splits.values()))
    console().print(table)
    click.echo(f"sha256 {facts['sha256']}")
    _write_json(json_file, facts)


@data.command()
@data_option
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write all pairs and conflicts here.")
def leaks(data: Path | None, json_file: Path | None) -> None:
    """Find photographs that occur more than once, within and across splits, and conflicting labels among them."""
    from affect_training.data import load_faces
    from affect_training.data.leaks import find_leaks

    path = existing(data)
    prepare_output(json_file)
    faces = load_faces(path, CACHE)
    with console().status("comparing all pairs of faces (FER2013: about a minute)"):
        report = find_leaks(faces)
    click.echo(report.to_text())
    _write_json(json_file, report.to_json())


@data.command()
@data_option
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="PNG file; shows faces of the data.")
@click.option("--split", default="Training", show_default=True)
@click.option("--per-class", default=16, show_default=True, type=click.IntRange(1, 200))
@click.option("--enlarge", default=1, show_default=True, type=click.IntRange(1, 8), help="Factor of the faces' size.")
@click.option("--seed", default=0, show_default=True)
def sheet(data: Path | None, out: Path, split: str, per_class: int, enlarge: int, seed: int) -> None:
    """Draw some faces of each emotion on a sheet."""
    from affect_training.data import load_faces
    from affect_training.data.sheets import sample_sheet, write_png

    path = existing(data)
    prepare_output(out)
    faces = load_faces(path, CACHE).split(split)
    write_png(sample_sheet(faces, per_class, seed, enlarge), out)
    click.echo(f"{out}: {per_class} faces a class of {split}. It shows faces of the data: do not publish or commit it.")


def _facts(path: Path, faces: Any) -> dict[str, Any]:
    from affect.labels import EMOTIONS
    from affect_training.data.sheets import histogram

    counts = histogram(faces)
    splits: dict[str, Any] = {}
    for name, split in faces.splits.items():
        splits[name] = {
            "faces": len(split),
            "blank": faces.blank[name],
            "classes": {emotion.value: int(n) for emotion, n in zip(EMOTIONS, counts[name], strict=True)},
        }
        if split.votes is not None:
            voted = split.votes.sum(axis=1) > 0
            agree = (split.votes.argmax(axis=1) == split.labels)[voted]
            splits[name]["votes"] = {"none": int((~voted).sum()), "agree": float(agree.mean()) if len(agree) else 0.0}
    return {"data": path.name, "sha256": faces.sha256, "splits": splits}


def _write_json(path: Path | None, facts: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
