"""affect-train bench: images a second of the training step, next to the machine's best."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affect.errors import AffectError
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect_training.cli.common import device_option, prepare_output

if TYPE_CHECKING:
    from affect_training.bench import Speed

HEADER = (
    f"{'recipe':22}{'parameters':>12}{'batch':>7}{'side':>6}{'run':>9}{'bare':>9}{'floor':>9}"
    f"{'run/bare':>10}{'run/floor':>11}{'peak MB':>9}"
)


@click.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--batch", type=click.IntRange(2), help="Batch size; the recipe's by default.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Steps a round, or fewer for 5 s.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often the loops take turns.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
@device_option
def bench(
    recipes: tuple[str, ...],
    batch: int | None,
    steps: int,
    rounds: int,
    assignments: tuple[str, ...],
    json_file: Path | None,
    device: str,
) -> None:
    """Time the training step of RECIPEs, of all when none is named.

    run is the step as `affect-train run` does it: loader, augmentation, Lightning, logging. bare is a loop over
    the same network, loss and optimiser with batches that lie ready in memory; floor is forward and backward alone.
    The three take turns. Faces are noise, no data is read.
    """
    from affect_training.config import parse_assignments

    host = PluginHost()
    specs = [host.recipes.get(name) for name in recipes] if recipes else [r for r in host.recipes if not r.parts]
    tables: dict[str, Any] = parse_assignments(assignments)
    if batch:
        tables["train"]["batch_size"] = batch
    prepare_output(json_file)
    click.echo(HEADER)
    found: list[Speed] = []
    failed = False
    for spec in specs:
        try:
            speed = _time(spec, tables, device, steps, rounds, alone=len(specs) == 1)
        except AffectError as exc:
            if len(specs) == 1:
                raise
            failed = True
            click.echo(f"{spec.name}: {exc.message}", err=True)
            continue
        found.append(speed)
        click.echo(_line(speed))
    if found:
        click.echo(
            f"images/s on {found[0].device}; peak MB: of the process (on a GPU its tensors) while only `run` works"
        )
    if json_file:
        text = json.dumps([speed.to_json() for speed in found], indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")
    if failed:
        raise click.exceptions.Exit(1)


def _line(speed: "Speed") -> str:
    network = f"{speed.recipe:22}{speed.parameters:>12,}{speed.batch:>7}{speed.size:>6}"
    rates = "".join(f"{rate:>9,.0f}" for rate in (speed.run, speed.bare, speed.floor))
    return f"{network}{rates}{speed.to_bare:>10.2f}{speed.to_floor:>11.2f}{speed.peak_mb:>9,.0f}"


def _time(spec: RecipeSpec, tables: dict[str, Any], device: str, steps: int, rounds: int, *, alone: bool) -> "Speed":
    """Time a recipe; several in a process of their own each, so that one's memory does not count for the next."""
    if alone:
        return _measure(spec, tables, device, steps, rounds)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, spec, tables, device, steps, rounds).result()


def _measure(spec: RecipeSpec, tables: dict[str, Any], device: str, steps: int, rounds: int) -> "Speed":
    from affect.inference.device import Device
    from affect_training.bench import bench_recipe

    return bench_recipe(spec, tables, Device(device), steps=steps, rounds=rounds)
