"""affect-train tune: search over settings; the same command goes on where it was stopped."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from affect.errors import SettingsError
from affect.plugins import PluginHost
from affect_training.cli.common import CACHE, console, data_option, device_option, existing

SHOWN = 20
"""Trials in the printed table; `trials.csv` has all."""


@click.command()
@click.argument("recipe")
@data_option
@click.option(
    "--search",
    "searches",
    multiple=True,
    required=True,
    metavar="KEY=VALUES",
    help="What to search: batch_size=64,128 | model.dropout=0.1:0.5[:STEP] | lr=log:0.001:0.1. Several times.",
)
@click.option("--method", type=click.Choice(["grid", "random", "tpe"]), default="tpe", show_default=True)
@click.option("--trials", type=click.IntRange(1), help="Trials in all; 20 by default, all of a grid.")
@click.option("--epochs", type=click.IntRange(1), required=True, help="Epochs of a trial.")
@click.option(
    "--prune",
    is_flag=False,
    flag_value="median",
    default="none",
    type=click.Choice(["none", "median", "hyperband"]),
    help="End trials early that fall behind; --prune alone is the median rule.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the search, not of the runs.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting for all trials.")
@click.option("--run-file", type=click.Path(path_type=Path, exists=True), help="TOML that all trials start from.")
@click.option("--init", help="Where all trials start: none, FILE.safetensors, or a scheme of the recipe, as for `run`.")
@click.option("--study", metavar="NAME", help="Name of the study; RECIPE-METHOD by default.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/tune"), show_default=True)
@click.option("--aux", type=click.Path(path_type=Path), help="Folder of the auxiliary sets.")
@device_option
def tune(
    recipe: str,
    data: Path | None,
    searches: tuple[str, ...],
    method: Any,
    trials: int | None,
    epochs: int,
    prune: Any,
    seed: int,
    assignments: tuple[str, ...],
    run_file: Path | None,
    init: str | None,
    study: str | None,
    out: Path,
    aux: Path | None,
    device: str,
) -> None:
    """Search the settings of RECIPE for the best PublicTest score.

    Writes study.db, trials.csv, importance.png, best.toml (a run file) and a run folder for each trial.
    """
    from affect_training.config import parse_assignments, read_run_file, run_config
    from affect_training.search_space import parse_space

    spec = PluginHost().recipes.get(recipe)
    base = read_run_file(run_file) if run_file else {}
    if base.pop("recipe", recipe) != recipe:
        raise SettingsError(f"{run_file} is a run of another recipe, not of {recipe!r}")
    for name, values in parse_assignments(assignments).items():
        if values:
            base[name] = {**base.get(name, {}), **values}
    if init:
        base["init"] = init
    space = parse_space(searches, {**spec.model, **base.get("model", {})})
    votes = "data.votes" in space or run_config(spec, base).data.votes

    from affect.inference.device import Device
    from affect_training.data import load_faces
    from affect_training.tune import StudySpec, Tuning, short

    wanted = StudySpec(spec, base, space, epochs, method, prune, seed)
    count = trials or (len(wanted.grid) if method == "grid" else 20)
    faces = load_faces(existing(data), CACHE, votes=votes)
    tuning = Tuning(out / (study or f"{recipe}-{method}"), wanted, faces, Device(device), aux=aux, cache=CACHE)
    click.echo(f"study {tuning.folder} on {tuning.device.description}: {count} trials of {epochs} epochs")
    try:
        tuning.run(count, click.echo)
    finally:
        written = tuning.write()
    table = Table("trial", "state", "score", "epochs", *(key.removeprefix("train.") for key in space))
    for row in tuning.rows()[:SHOWN]:
        score = "" if row.score is None else f"{row.score:.4f}"
        values = ["" if key not in row.drawn else short(row.drawn[key]) for key in space]
        table.add_row(str(row.number), row.state, score, str(row.epochs), *values)
    console().print(table)
    for key, share in tuning.importances().items():
        click.echo(f"importance {share:.2f}  {key}")
    click.echo(f"wrote {', '.join(str(path) for path in written)}")
