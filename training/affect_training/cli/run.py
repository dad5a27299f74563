"""affect-train run: train a recipe, or go on with it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from affect.errors import SettingsError
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect_training.cli.common import CACHE, data_option, device_option, existing
from affect_training.cli.parts import check_starts, parts_of, vote_of_parts
from affect_training.config import RunConfig, parse_assignments, read_run_file, run_config


@click.command()
@click.argument("recipe")
@data_option
@click.option(
    "--aux", type=click.Path(path_type=Path, exists=True), help="Folder of the auxiliary sets that data.aux names."
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting: lr=0.02, model.dropout=.3, augment.rotation_deg=10",
)
@click.option(
    "--run-file",
    type=click.Path(path_type=Path, exists=True),
    help="TOML, or a run's run.json: recipe, model, data, …",
)
@click.option("--init", help="none, FILE.safetensors, or a scheme of the recipe: imagenet, face-api:DIR, …")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/RECIPE-seedN by default.")
@device_option
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes a machine, one a GPU; more than one trains with DDP, train.batch_size being that of all together.",
)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines.")
@click.option("--resume", is_flag=True, help="Insist on going on: an error when the folder has no checkpoint.")
@click.option(
    "--from-epoch", type=click.IntRange(1), help="Go back to the end of this epoch, which --keep kept, and on from it."
)
@click.option(
    "--keep", type=click.IntRange(0), default=0, show_default=True, help="Keep every Nth epoch's checkpoints; 0: none."
)
@click.option("--fresh", is_flag=True, help="Start anew although the folder has a checkpoint.")
@click.option("--about", help="Of an ensemble's parts: as in `export`; needed when the data is not FER2013.")
@click.option("--licence", help="Of an ensemble's parts: as in `export`.")
@click.option("--dry-run", is_flag=True, help="Print what would run, which can be a run file, and stop.")
def run(
    recipe: str,
    data: Path | None,
    aux: Path | None,
    assignments: tuple[str, ...],
    run_file: Path | None,
    init: str | None,
    out: Path | None,
    device: str,
    devices: int,
    nodes: int,
    resume: bool,
    from_epoch: int | None,
    keep: int,
    fresh: bool,
    about: str | None,
    licence: str | None,
    dry_run: bool,
) -> None:
    """Train RECIPE; goes on from the last checkpoint of its folder, whenever it was stopped.

    An ensemble's parts are trained one after the other, exported, and vote; what is finished is not trained again.
    """
    host = PluginHost()
    spec = host.recipes.get(recipe)
    tables = [read_run_file(run_file)] if run_file else []
    if tables and tables[0]["recipe"] != recipe:
        raise SettingsError(f"{run_file} is a run of {tables[0]['recipe']!r}, not of {recipe!r}")
    if devices * nodes > 1 and ":" in device:
        raise SettingsError(
            f"--device {device} is one device; for several processes say --device cuda (CUDA_VISIBLE_DEVICES chooses)"
        )
    if fresh and (resume or from_epoch):
        raise SettingsError(f"{'--resume' if resume else '--from-epoch'} and --fresh contradict each other")
    if from_epoch and spec.parts:
        raise SettingsError(f"--from-epoch goes back in one run; name a part of {recipe}, and its folder with --out")
    changes = [*tables, parse_assignments(assignments), {"init": init} if init else {}]

    if spec.parts:
        folder = out or Path("runs") / recipe
        parts = parts_of(host, spec, changes)
        planned = [(folder / part.name, part.recipe, part.config) for part in parts]
    else:
        config = run_config(spec, *changes)
        planned = [(out or Path("runs") / f"{recipe}-seed{config.train.seed}", spec, config)]
        _check(spec, config, begins=dry_run or fresh or not (planned[0][0] / "last.ckpt").exists())
    if dry_run:
        for place, _, config in planned:
            click.echo(f"would train in {place}:", err=True)
            click.echo(json.dumps(config.model_dump(mode="json"), indent=2))
        return
    if spec.parts:
        _check_vote(spec, planned, data, about)
        check_starts(spec, [part for part in parts if fresh or not (folder / part.name / "last.ckpt").exists()])
    elif about or licence:
        raise SettingsError("--about and --licence are for the parts of an ensemble; `export` takes them for a run")
    if resume and not from_epoch and not any((place / "last.ckpt").exists() for place, _, _ in planned):
        raise SettingsError(f"--resume: {out or planned[0][0]} has no checkpoint to go on from")
    for place, part, config in planned:
        _train(place, part, config, data, aux, device, devices, nodes, from_epoch=from_epoch, keep=keep, fresh=fresh)
    if spec.parts:
        from affect_training.processes import is_first_process

        holdout = planned[0][2].data.holdout
        if is_first_process(devices * nodes):  # DDP runs the whole command in each
            vote_of_parts(spec, folder, data, device, holdout=holdout, about=about, licence=licence)


def _check(spec: RecipeSpec, config: RunConfig, *, begins: bool) -> None:
    """See what can be seen of a run without its data: its network, what it freezes and, when it begins, its start."""
    from affect_training.network import check_init, check_network

    check_network(spec, config)
    if begins:  # later the file need not be there any more
        check_init(spec, config.init)


def _check_vote(
    spec: RecipeSpec, planned: Sequence[tuple[Path, RecipeSpec, RunConfig]], data: Path | None, about: str | None
) -> None:
    """See before days of training that the parts can be exported and judged on the same faces."""
    from affect_training.data import load_faces
    from affect_training.data.faces import FER2013

    if len({config.data.holdout for _, _, config in planned}) > 1:
        raise SettingsError(f"{spec.name}: all parts need the same data.holdout, or they cannot vote")
    faces = load_faces(existing(data), CACHE)
    if faces.kind not in FER2013 and not about:
        raise SettingsError(
            f"{spec.name}: {data} is not FER2013; say what it is and under which licence, for its parts: --about TEXT"
        )


def _train(
    folder: Path,
    spec: RecipeSpec,
    config: RunConfig,
    data: Path | None,
    aux: Path | None,
    device: str,
    devices: int,
    nodes: int,
    *,
    from_epoch: int | None,
    keep: int,
    fresh: bool,
) -> None:
    from affect.inference.device import Device
    from affect_training.data import load_faces
    from affect_training.processes import is_first_process, own_device
    from affect_training.run import Run
    from affect_training.run_folder import check_not_lost

    processes = devices * nodes
    faces = load_faces(existing(data), CACHE, votes=config.data.votes)
    own = Device(own_device(device, processes))
    training = Run(folder, spec, config, faces, own, aux=aux, devices=devices, nodes=nodes, cache=CACHE, keep=keep)
    resumed = not fresh and training.resume(epoch=from_epoch)
    if not fresh and not resumed:
        check_not_lost(folder)
    tell: Callable[[str], None] = click.echo if is_first_process(processes) else lambda _: None
    if aux is not None and not config.data.aux:
        tell(f"--aux {aux} is not used: data.aux names no set")
    if config.init == "none" and config.train.freeze:
        tell("train.freeze with --init none: what is frozen stays as it was drawn; --set freeze=[] trains everything")
    how = f"back at epoch {from_epoch}" if from_epoch else "resumed" if resumed else "from the start"
    tell(f"{spec.name} in {folder} on {training.device.description}, {how}")
    training.fit(tell)
    state = training.state
    tell(f"best PublicTest accuracy {state.best_accuracy:.4f} in epoch {state.best_epoch} of {state.epoch}")
