"""The command `affect` and the options its subcommands share. Subcommands import what they need when they run."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from affect.errors import AffectError
from affect.settings.load import Loaded, load_settings
from affect.version import __version__

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
@click.version_option(__version__, prog_name="tutor-affect")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file; affect.toml by default."
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set one thing: vision.redetect_s=2")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, assignments: tuple[str, ...]) -> None:
    """The affect module for tutoring systems: webcam frames in, learner events out."""
    ctx.obj = (config, assignments)


def shared_options(command: F) -> F:
    """Add --backend, --detector and --device."""
    for option in (
        click.option("--device", help="auto | cpu | cuda:N"),
        click.option("--detector", help="A registered face detector."),
        click.option("--backend", help="A registered backend, a .safetensors file, or the .json of an ensemble."),
    ):
        command = option(command)
    return command


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Return the settings of `--set KEY=VALUE`, values as TOML reads them.

    Raises:
        click.BadParameter: One has no `=`.
    """
    from affect.settings.load import parse_value

    chosen: dict[str, Any] = {}
    for pair in assignments:
        key, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"expected KEY=VALUE, got {pair!r}", param_hint="--set")
        chosen[key] = parse_value(text)
    return chosen


def settings_of(ctx: click.Context, **overrides: Any) -> Loaded:
    """Load settings with `--config`, `--set` and a command's own options; `__` in their names stands for a dot."""
    config, assignments = ctx.find_root().obj
    chosen = parse_assignments(assignments)
    names = {"backend": "inference.backend", "device": "inference.device", "detector": "vision.detector"}
    for name, value in overrides.items():
        if value is not None:
            chosen[names.get(name, name.replace("__", "."))] = value
    return load_settings(config, chosen)


@cli.command()
@click.option("--host", help="Address to bind; loopback by default.")
@click.option("--port", type=int, help="Port; 0 lets the system choose.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser where there is a desktop.")
@shared_options
@click.pass_context
def serve(ctx: click.Context, /, host: str | None, port: int | None, open_page: bool, **options: str | None) -> None:
    """Start the websocket service and its page."""
    from affect.cli.serve import run

    loaded = settings_of(ctx, service__host=host, service__port=port, **options)
    run(loaded.settings, open_page=open_page)


@cli.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to."
)
@click.option("--fps", type=click.FloatRange(0, 1000, min_open=True), help="Frames a second to take; 5 is recommended.")
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Or take every Nth frame.")
@click.option("--resume", is_flag=True, help="Leave out inputs that are done: same file, same settings.")
@click.option("--all-faces", is_flag=True, help="Classify every face, not only the learner's.")
@click.option("--no-plot", is_flag=True, help="Write no timeline plot.")
@shared_options
@click.pass_context
def analyze(
    ctx: click.Context,
    /,
    inputs: tuple[Path, ...],
    out: Path,
    fps: float | None,
    every: int,
    resume: bool,
    all_faces: bool,
    no_plot: bool,
    **options: str | None,
) -> None:
    """Analyse videos, pictures, or folders of them."""
    from affect.cli.analyze import Options, run
    from affect.video import Sampling

    loaded = settings_of(ctx, vision__all_faces=all_faces or None, **options)
    chosen = Options(Sampling(every, fps), plot=not no_plot, resume=resume)
    sys.exit(run(inputs, out, loaded.settings, chosen))


@cli.command()
@click.option("--camera", default=0, show_default=True, help="Number of the local camera.")
@click.option("--fps", default=10.0, show_default=True, type=click.FloatRange(0.5, 60), help="Frames a second.")
@click.option("--seconds", type=float, help="Stop after this long; Ctrl-C otherwise.")
@click.option("--video", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file as the camera.")
@shared_options
@click.pass_context
def watch(
    ctx: click.Context,
    /,
    camera: int,
    fps: float,
    seconds: float | None,
    video: Path | None,
    **options: str | None,
) -> None:
    """Watch the local webcam in the terminal."""
    from affect.cli.watch import run

    run(settings_of(ctx, **options).settings, camera=video or camera, fps=fps, seconds=seconds)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of every plugin's settings.")
@click.option("--strict", is_flag=True, help="Fail when a plugin failed.")
@click.pass_context
def plugins(ctx: click.Context, /, as_json: bool, schema: bool, strict: bool) -> None:
    """List plugins: what they provide, or why they did not load."""
    from affect.cli.plugins import run

    sys.exit(run(settings_of(ctx).settings, as_json=as_json, schema=schema, strict=strict))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--all", "everything", is_flag=True, help="Show every setting, not only the changed ones.")
@shared_options
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, everything: bool, **options: str | None) -> None:
    """Tell whether this machine can run it: device, plugins, weights, settings and where each came from."""
    from affect.cli.doctor import run

    sys.exit(run(settings_of(ctx, **options), as_json=as_json, everything=everything))


@cli.group()
def bench() -> None:
    """Measure: the pipeline's speed, the learner model's quality."""


@bench.command("pipeline")
@click.option("--size", default="320x240", show_default=True, help="WIDTHxHEIGHT of the frames.")
@click.option("--sessions", default=100, show_default=True, type=click.IntRange(1), help="Simulated sessions.")
@click.option("--fps", default=5.0, show_default=True, help="Frames a second of each session.")
@click.option("--seconds", default=20.0, show_default=True, help="Length of the session test; 0 leaves it out.")
@click.option("--frames", default=300, show_default=True, help="Frames of the throughput test.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
@shared_options
@click.pass_context
def bench_pipeline(
    ctx: click.Context,
    /,
    size: str,
    sessions: int,
    fps: float,
    seconds: float,
    frames: int,
    json_file: Path | None,
    **options: str | None,
) -> None:
    """Frames a second of each stage and end to end, against the floor measured in the same run."""
    from affect.cli.bench_pipeline import run

    settings = settings_of(ctx, **options).settings
    run(settings, size=size, sessions=sessions, fps=fps, seconds=seconds, frames=frames, json_file=json_file)


@bench.command("learner")
@click.option("--sessions", default=40, show_default=True, type=click.IntRange(1), help="Simulated sessions a case.")
@click.option("--minutes", default=10.0, show_default=True, help="Length of each.")
@click.option("--fps", default=5.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
@shared_options
@click.pass_context
def bench_learner(
    ctx: click.Context,
    /,
    sessions: int,
    minutes: float,
    fps: float,
    seed: int,
    json_file: Path | None,
    **options: str | None,
) -> None:
    """The estimator against raw argmax, EMA + threshold and majority vote, on simulated learners."""
    from affect.cli.bench_learner import run

    settings = settings_of(ctx, **options).settings
    run(settings, sessions=sessions, minutes=minutes, fps=fps, seed=seed, json_file=json_file)


def main() -> None:
    """Entry point; an error of ours is one line on stderr and exit code 1."""
    try:
        cli(standalone_mode=True)
    except AffectError as exc:
        click.echo(f"affect: {exc.message} [{exc.code}]", err=True)
        sys.exit(1)
