"""affect-train report: a run or a backend on one page."""

from pathlib import Path

import click

from affect.errors import SettingsError
from affect_training.cli.common import CACHE, data_option, device_option, existing, holdout_option, prepare_output


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
    help="A file of `evaluate --json` (robustness, attacks, groups, other splits) or `fullframe --json`, of the same "
    "weights. May be given several times.",
)
@click.option("--about", help="What a run was trained on and under which licence; needed when that is not FER2013.")
@click.option("--no-examples", is_flag=True, help="Show no faces of the data, for a page that others will see.")
@holdout_option
@device_option
def report(
    subject: str,
    data: Path | None,
    out: Path,
    split: str,
    evaluations: tuple[Path, ...],
    about: str | None,
    no_examples: bool,
    holdout: float,
    device: str,
) -> None:
    """Write a page about RUN_OR_BACKEND: a run's folder, a backend, a .safetensors file, or an ensemble's manifest.

    Writes report.html (one file, no links out of it), every plot as PNG and SVG, report.json, and card.md.
    """
    from affect_training.data import load_faces
    from affect_training.data.holdout import hold_out
    from affect_training.held_out import check_holdout
    from affect_training.report.further import read_evaluation
    from affect_training.report.subject import open_subject
    from affect_training.report.write import write_report
    from affect_training.teachers import installed_host, names_run

    prepare_output(out / "report.html")
    further = tuple(read_evaluation(path) for path in evaluations)
    if holdout and names_run(subject):
        raise SettingsError(f"--holdout is for a backend; the run {subject} knows its own")
    faces = hold_out(load_faces(existing(data), CACHE), holdout)
    if not names_run(subject):
        check_holdout([subject], installed_host(), faces.sha256, holdout, split)
    judged = open_subject(subject, faces, split, device, further, about)
    page = write_report(judged, out, examples=not no_examples, progress=click.echo)
    click.echo(str(page))
