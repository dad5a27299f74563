"""affect-train seeds: the same figure over several runs, as mean and deviation."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from affect_training.cli.common import console, prepare_output

HEADINGS = {
    "macro_f1": "macro-F1",
    "macro_recall": "recall",
    "ece": "ECE",
    "ece_cross_fitted": "ECE cross-fitted",
    "ece_uncalibrated": "ECE T=1",
    "nll": "NLL",
    "nll_cross_fitted": "NLL cross-fitted",
}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN_OR_JSON...")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def seeds(runs: tuple[Path, ...], json_file: Path | None) -> None:
    """Print mean +- standard deviation over runs that differ in the seed only.

    Each RUN_OR_JSON is a run's folder (its best epoch on PublicTest) or a file written by `affect-train evaluate
    --json`.
    """
    from affect_training.evaluation.seeds import summarise

    prepare_output(json_file)
    summary = summarise(runs)
    table = Table(
        "run",
        *(HEADINGS.get(name, name) for name in summary.figures),
        title=f"{summary.runs[0].split}, tta {summary.runs[0].tta}",
    )
    for run in summary.runs:
        table.add_row(run.name, *(_number(name, run.values[name]) for name in summary.figures))
    table.add_section()
    table.add_row("mean", *(_number(name, figure.mean) for name, figure in summary.figures.items()), style="bold")
    table.add_row("sd (n - 1)", *(_number(name, f.sd) for name, f in summary.figures.items()))
    out = console()
    out.print(table)
    for note in summary.notes:
        out.print(f"note: {note}", style="yellow")
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if name == "best_epoch" else f"{value:.4f}"
