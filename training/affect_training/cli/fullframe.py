"""affect-train fullframe: faces in whole pictures, found, cropped and classified like a learner's."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from affect_training.cli.common import CACHE, console, data_option, existing, prepare_output


@click.command()
@click.argument("backend", required=False)
@data_option
@click.option("--split", default="PublicTest", type=click.Choice(["Training", "PublicTest", "PrivateTest"]))
@click.option(
    "--limit", default=700, type=click.IntRange(0), show_default=True, help="Faces, drawn at random; 0 takes all."
)
@click.option("--unseen", is_flag=True, help="Only faces that share no photograph with Training.")
@click.option("--seed", default=0, show_default=True)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A setting of affect, as for serve.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def fullframe(
    backend: str | None,
    data: Path | None,
    split: str,
    limit: int,
    unseen: bool,
    seed: int,
    assignments: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Lay labelled faces into whole pictures and run the whole pipeline with BACKEND (default: the configured one)."""
    from affect.cli.main import parse_assignments
    from affect.inference.optional import identity_of
    from affect.pipeline import build_pipeline
    from affect.plugins import PluginHost
    from affect.settings.load import load_settings
    from affect_training.data import load_faces
    from affect_training.data.leaks import unseen as without_seen
    from affect_training.fullframe import full_frame

    path = existing(data)
    prepare_output(json_file)
    data_set = load_faces(path, CACHE)
    faces = without_seen(data_set, split) if unseen else data_set.split(split)
    chosen = {"vision.all_faces": True, **parse_assignments(assignments)}
    if backend:
        chosen["inference.backend"] = backend
    settings = load_settings(overrides=chosen).settings
    pipeline = build_pipeline(settings, PluginHost(settings.plugins))
    name, detector = settings.inference.backend, settings.vision.detector
    found = full_frame(pipeline, faces, backend=name, detector=detector, limit=limit or None, seed=seed)
    low, high = found.recall_ci95
    table = Table("figure", "value", title=f"{name} behind {detector}, {found.n} faces of {split} in whole pictures")
    table.add_row("found", f"{found.recall:.1%} (95 % {low:.1%}-{high:.1%})")
    table.add_row("right, first frame", f"{found.accuracy_first:.1%} of the found")
    table.add_row("right, tracked frame", f"{found.accuracy_tracked:.1%} of those still tracked, {found.lost} lost")
    table.add_row(
        "right, cropped directly", f"{found.accuracy_direct:.1%} of the found, {found.accuracy_direct_all:.1%} of all"
    )
    low, high = found.difference_ci95
    table.add_row("tracked minus direct", f"95 % {low:+.1%} to {high:+.1%}")
    table.add_row("missed", ", ".join(f"{k} {m} of {n}" for k, (m, n) in found.missed.items()))
    table.add_row("boxes elsewhere", str(found.false_faces))
    console().print(table)
    if json_file:
        drawn = {"data": data_set.other_name, "split": split, "unseen": unseen, "limit": limit or None, "seed": seed}
        facts = {**found.to_json(), **asdict(identity_of(pipeline.backend)), **drawn}
        json_file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
