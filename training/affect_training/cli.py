"""affect-train: list recipes, run one, evaluate a backend, export a run."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from affect.errors import AffectError, SettingsError
from affect.plugins import PluginHost
from affect.registry import RecipeSpec

DATA_HELP = "fer2013.csv, fer2013.csv.gz, or the folder with it; $AFFECT_FER2013 by default."
_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=lambda: os.environ.get("AFFECT_FER2013"),
    help=DATA_HELP,
)


class _Group(click.Group):
    """`affect-train RECIPE …` is short for `affect-train run RECIPE …`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and args[0] in PluginHost().recipes:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Group)
def cli() -> None:
    """Train, evaluate and export backends."""


@cli.command("list")
def list_recipes() -> None:
    """List all recipes."""
    table = Table("recipe", "what", "from")
    host = PluginHost()
    for recipe in host.recipes:
        table.add_row(recipe.name, recipe.summary, str(host.recipes.provenance(recipe.name)))
    Console().print(table)


@cli.command()
@click.argument("recipe")
def show(recipe: str) -> None:
    """Show a recipe's settings."""
    from affect_training.config import run_config

    spec = PluginHost().recipes.get(recipe)
    click.echo(f"{spec.name}: {spec.summary}\nsource: {spec.source}\narchitecture: {spec.architecture}")
    click.echo(json.dumps(run_config(spec).model_dump(mode="json"), indent=2))


@cli.command()
@click.argument("recipe")
@_data_option
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting: lr=0.02, model.dropout=.3",
)
@click.option("--run-file", type=click.Path(path_type=Path, exists=True), help="TOML with [model] and [train].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/RECIPE-seedN by default.")
@click.option("--device", default="auto", help="auto | cpu | cuda:N")
@click.option("--fresh", is_flag=True, help="Start anew although the folder has a checkpoint.")
@click.option("--dry-run", is_flag=True, help="Print what would run, and stop.")
def run(
    recipe: str,
    data: Path | None,
    assignments: tuple[str, ...],
    run_file: Path | None,
    out: Path | None,
    device: str,
    fresh: bool,
    dry_run: bool,
) -> None:
    """Train RECIPE; goes on from the last checkpoint of its folder, whenever it was stopped."""
    from affect_training.config import parse_assignments, read_run_file, run_config

    spec = PluginHost().recipes.get(recipe)
    tables = [read_run_file(run_file)] if run_file else []
    if tables and tables[0]["recipe"] != recipe:
        raise SettingsError(f"{run_file} is a run of {tables[0]['recipe']!r}, not of {recipe!r}")
    config = run_config(spec, *tables, parse_assignments(assignments))
    folder = out or Path("runs") / f"{recipe}-seed{config.train.seed}"
    if dry_run:
        click.echo(json.dumps({"folder": str(folder), **config.model_dump(mode="json")}, indent=2))
        return
    training = _open_run(spec, config, folder, _existing(data), device)
    resumed = not fresh and training.resume()
    click.echo(f"{recipe} in {folder} on {training.device.description}, {'resumed' if resumed else 'from the start'}")
    training.fit(click.echo)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="NAME.safetensors to write.")
@_data_option
def export(folder: Path, out: Path, data: Path | None) -> None:
    """Write the best weights of the run in FOLDER with their sidecar."""
    from affect_training.config import RunConfig
    from affect_training.export import export as write

    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    config = RunConfig.model_validate(facts["config"])
    training = _open_run(PluginHost().recipes.get(config.recipe), config, folder, _existing(data), "auto")
    training.resume()
    sidecar = write(training, out)
    for name, metric in sidecar.metrics.items():
        interval = f"  95 % {metric.ci95[0]:.4f}-{metric.ci95[1]:.4f}" if metric.ci95 else ""
        click.echo(f"{name:18} {metric.value:.4f}{interval}  ({metric.split}, n={metric.n})")
    click.echo(f"temperature        {sidecar.temperature}")


@cli.command()
@click.argument("backend")
@_data_option
@click.option("--split", default="PublicTest", type=click.Choice(["Training", "PublicTest", "PrivateTest"]))
@click.option("--tta", default="none", type=click.Choice(["none", "mirror"]))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def evaluate(backend: str, data: Path | None, split: str, tta: str, json_file: Path | None) -> None:
    """Score BACKEND, a registered name or the path of a weights file, on a split."""
    from affect.pictures import load_backend
    from affect_training.data import load_fer2013
    from affect_training.evaluate import evaluate as score

    faces = load_fer2013(_existing(data), Path("runs/cache")).split(split)
    classifier = _from_weights(Path(backend)) if backend.endswith(".safetensors") else load_backend(backend)
    report = score(classifier, backend, split, faces, tta)
    low, high = report.accuracy_ci95
    click.echo(f"{backend} on {split}, n={report.n}, tta {tta}")
    click.echo(f"accuracy {report.accuracy:.4f} (95 % {low:.4f}-{high:.4f})  macro-F1 {report.macro_f1:.4f}")
    click.echo(f"ECE {report.ece:.4f}  NLL {report.nll:.4f}")
    for name, row in report.per_class.items():
        click.echo(f"  {name:9} n {row['n']:5}  precision {row['precision']:.3f}  recall {row['recall']:.3f}")
    if json_file:
        json_file.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")


def _existing(data: Path | None) -> Path:
    if data is None:
        raise SettingsError("name the data: --data fer2013.csv, or set AFFECT_FER2013")
    return data


def _open_run(spec: RecipeSpec, config: Any, folder: Path, data: Path, device: str) -> Any:
    from affect.inference.device import Device
    from affect_training.data import load_fer2013
    from affect_training.train import Run

    return Run(folder, spec.architecture, config, load_fer2013(data, Path("runs/cache")), Device(device))


def _from_weights(weights: Path) -> Any:
    from affect.inference.checkpoint import load_sidecar
    from affect.inference.device import Device
    from affect.inference.torch_backend import TorchBackend
    from affect.pictures import FaceClassifier
    from affect_training.train import build_model

    device = Device()
    sidecar = load_sidecar(weights)
    arguments = sidecar.training.get("config", {}).get("model", {})
    return FaceClassifier(TorchBackend(lambda: build_model(sidecar.architecture, arguments), weights, device), device)


def main() -> None:
    """Entry point; an error of ours is one line on stderr and exit code 1."""
    try:
        cli(standalone_mode=True)
    except AffectError as exc:
        click.echo(f"affect-train: {exc.message} [{exc.code}]", err=True)
        sys.exit(1)
