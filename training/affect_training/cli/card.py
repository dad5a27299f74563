"""affect-train card: the model card of weights, a backend, or an ensemble."""

from pathlib import Path

import click

from affect_training.cli.common import prepare_output


@click.command()
@click.argument("weights", metavar="WEIGHTS_OR_BACKEND")
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="A file of `evaluate --json` (other splits, robustness, attacks, groups) or `fullframe --json`, of the same "
    "weights. May be given several times.",
)
@click.option("--name", help="What to call the model; its own name by default.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; standard output by default."
)
def card(weights: str, evaluations: tuple[Path, ...], name: str | None, out: Path | None) -> None:
    """Write the model card of WEIGHTS_OR_BACKEND: a registered backend, a .safetensors file, or an ensemble's manifest.

    Everything comes from the sidecar, the PublicTest answers beside it, and the files of figures; no data is needed.
    """
    from dataclasses import replace

    from affect_training.report.card import card as write
    from affect_training.report.facts import find_facts
    from affect_training.report.further import read_evaluation
    from affect_training.teachers import installed_host

    prepare_output(out)
    facts = find_facts(weights, installed_host(), [read_evaluation(path) for path in evaluations])
    text = write(replace(facts, name=name) if name else facts)
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    click.echo(str(out))
