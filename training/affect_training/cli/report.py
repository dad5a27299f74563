"""affect-train report: a run or a backend on one page."""

from pathlib import Path

import click

from affect_training.cli.common import CACHE, data_option, device_option, existing


@click.command()
@click.argument("subject", metavar="RUN_OR_BACKEND")
@data_option
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
@click.option(
    "--split",
    default="PublicTest",
    show_default=True,
    type=click.Choice(["Training", "PublicTest", "PrivateTest"]),
)
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="A file of `evaluate --json`: its robustness, attacks and groups are shown. May be given several times.",
)
@click.option("--no-examples", is_flag=True, help="Show no faces of the data, for a page that others will see.")
@device_option
def report(
    subject: str,
    data: Path | None,
    out: Path,
    split: str,
    evaluations: tuple[Path, ...],
    no_examples: bool,
    device: str,
) -> None:
    """Write a page about RUN_OR_BACKEND: the folder of a run, a registered backend, or a .safetensors file.

    Writes report.html (one file, no links out of it), every plot as PNG and SVG, report.json, and card.md.
    """
    from affect_training.data import load_faces
    from affect_training.report.facts import read_evaluation
    from affect_training.report.subject import open_subject
    from affect_training.report.write import write_report

    further = tuple(read_evaluation(path) for path in evaluations)
    judged = open_subject(subject, load_faces(existing(data), CACHE), split, device, further)
    page = write_report(judged, out, examples=not no_examples, progress=click.echo)
    click.echo(str(page))
