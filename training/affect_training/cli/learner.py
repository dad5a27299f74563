"""affect-train learner: fit a backend to labelled learners, and score any backend and estimator on them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from affect.errors import SettingsError
from affect_training.cli.common import CACHE, console, existing, prepare_output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affect.settings import Settings
    from affect.settings.fit import StateFigures
    from affect_training.learner.watch import Progress

_data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with labels.csv and faces.tar (or the files), or with DAiSEE's Labels and DataSet.",
)
_backend = click.option("--backend", help="A registered backend or a .safetensors file; the configured one by default.")
_device = click.option("--device", help="auto | cpu | cuda:N")
_set = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting, as `affect --set` does."
)


@click.group()
def learner() -> None:
    """Fit and judge the learner model on labelled learners."""


@learner.command()
@_data
@click.option("--split", default="train", show_default=True)
@_backend
@_device
@_set
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="FILE.json, instead of the backend's sidecar."
)
@click.option("--prior", type=click.FloatRange(0), help="Faces that a row of the design's emission matrix counts as.")
@click.option("--check/--no-check", default=True, help="Cross-validate by person first; the figures go with the fit.")
def fit(
    data: Path,
    split: str,
    backend: str | None,
    device: str | None,
    assignments: tuple[str, ...],
    out: Path | None,
    prior: float | None,
    check: bool,
) -> None:
    """Fit emission matrix and heads for a backend and keep them in its sidecar."""
    from affect.plugins import PluginHost
    from affect_training.learner import fit as fitting
    from affect_training.learner.emission import PRIOR
    from affect_training.learner.heads import HeadOptions
    from affect_training.learner.labels import read_labelled
    from affect_training.learner.watch import Watcher

    settings = _settings(assignments, backend=backend, device=device)
    host = PluginHost(settings.plugins)
    hmm, fitted = fitting.configured(host)
    if out is not None:
        fitting.check_document(out)
    document = out or fitting.own_sidecar(settings, host)
    labelled = read_labelled(existing(data), split)
    prepare_output(document)
    if labelled.kind != "faces":
        raise SettingsError(f"{data}: fit takes single faces (labels.csv); clips are for `evaluate`")
    with _progress(len(labelled)) as progress:
        watched = Watcher(settings, host, details=True, cache=CACHE).watch(labelled, progress)
    seen = [frames[0] for frames in watched]
    faces = fitting.all_faces(labelled, seen, settings)
    options, strength = HeadOptions(), PRIOR if prior is None else prior
    facts = fitting.describe(labelled, faces, settings, host, options, strength)
    if check:
        found = fitting.cross_validate(
            labelled, seen, settings, options, strength, fitting.variants_of(hmm, fitted), hmm
        )
        facts = facts.model_copy(update={"figures": found})
        _show(f"{facts.backend}, {labelled}, cross-validated by person", found)
    written = fitting.write(fitting.fit_all(faces, options, strength, hmm), facts, document, sidecar=out is None)
    click.echo(f"{written.data}: emission and heads written to {document}")
    if out is not None:
        click.echo(f'used when the settings say [learner] fit = "{out}"')


@learner.command()
@_data
@click.option("--split", required=True, help="Split to score; all of a folder with timeline.csv that names none.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
@_backend
@click.option("--estimator", help="A registered estimator; the configured one by default.")
@_device
@_set
@click.option(
    "--sessions",
    type=click.Choice(["item", "person"]),
    default="item",
    show_default=True,
    help="Each face or clip on its own, or all of a person in a row, 10 s apart.",
)
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Take every Nth frame of a video.")
def evaluate(
    data: Path,
    split: str,
    json_file: Path | None,
    backend: str | None,
    estimator: str | None,
    device: str | None,
    assignments: tuple[str, ...],
    sessions: Any,
    every: int,
) -> None:
    """Score a backend and estimator on labelled faces, clips or time lines."""
    from affect.plugins import PluginHost
    from affect_training.learner import evaluate as evaluation
    from affect_training.learner import timeline
    from affect_training.learner.labels import read_labelled

    settings = _settings(assignments, backend=backend, device=device, estimator=estimator)
    host = PluginHost(settings.plugins)
    prepare_output(json_file)
    if timeline.is_timeline(existing(data)):
        if sessions != "item":
            raise SettingsError("--sessions is for labelled faces and clips; time lines are sessions as they are")
        sessions_of = timeline.read_timeline(data, split)
        with _progress(len(sessions_of)) as progress:
            report = timeline.evaluate(sessions_of, settings, host, progress, every=every)
        console().print(_events_table(report))
    else:
        labelled = read_labelled(data, split)
        with _progress(len(labelled)) as progress:
            report = evaluation.evaluate(
                labelled, settings, host, progress, sessions=sessions, every=every, cache=CACHE
            )
        _show(f"{report['backend']}+{report['estimator']}, {labelled}", {"": report})
        if "onsets" in report:
            console().print(_onsets_table(report["onsets"]))
        click.echo(report["note"])
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


@learner.command()
@_data
@click.option("--split", default="train", show_default=True, help="People to fit on.")
@click.option("--held-out", default="val", show_default=True, help="People to score on.")
@_backend
@_device
@_set
@click.option("--align/--square", default=True, help="Place crops by landmarks, or take their middle square.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def study(
    data: Path,
    split: str,
    held_out: str,
    backend: str | None,
    device: str | None,
    assignments: tuple[str, ...],
    align: bool,
    json_file: Path | None,
) -> None:
    """Fit on one split's people, all and five times without a fifth, and score on another split; writes no fit."""
    from affect.plugins import PluginHost
    from affect_training.learner import fit as fitting
    from affect_training.learner.emission import PRIOR
    from affect_training.learner.heads import HeadOptions
    from affect_training.learner.labels import read_labelled
    from affect_training.learner.study import study as run
    from affect_training.learner.watch import Watcher

    settings = _settings(assignments, backend=backend, device=device)
    prepare_output(json_file)
    sets = [read_labelled(existing(data), name) for name in (split, held_out)]
    if any(labelled.kind != "faces" for labelled in sets):
        raise SettingsError(f"{data}: study takes single faces (labels.csv); clips are for `evaluate`")
    host = PluginHost(settings.plugins)
    hmm, fitted = fitting.configured(host)
    watcher = Watcher(settings, host, details=True, align=align, cache=CACHE)
    with _progress(sum(map(len, sets))) as progress:
        seen = [[frames[0] for frames in watcher.watch(labelled, progress)] for labelled in sets]
    variants = fitting.variants_of(hmm, fitted)
    report = run(sets[0], seen[0], sets[1], seen[1], settings, HeadOptions(), PRIOR, variants, hmm)
    title = f"{settings.inference.backend_word}: fitted on {sets[0]}; scored on {sets[1]}"
    _show(f"{title}; the fit on all, 95 % over people", {name: row["all"] for name, row in report.items()})
    _show_spread("the mean of five fits, and the least and greatest", report)
    if json_file is not None:
        whole = {"backend": settings.inference.backend_word, "data": title, "aligned": align, "variants": report}
        json_file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


@learner.command("fit-host")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with timeline.csv and evidence.csv of a study.")
@click.option("--split", default="train", show_default=True, help="Of the time lines, if they name splits.")
@click.option("--simulate", "sessions", type=click.IntRange(1), help="Or this many simulated transcripts.")
@click.option("--minutes", default=20.0, show_default=True, help="Length of a simulated session.")
@click.option("--seed", default=0, show_default=True, help="Of the simulation.")
@click.option("--prior", type=click.FloatRange(0), help="Turns in each state that the design's table counts as.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the TOML here.")
@_set
def fit_host(
    data: Path | None,
    split: str,
    sessions: int | None,
    minutes: float,
    seed: int,
    prior: float | None,
    out: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Fit the likelihoods of host evidence; prints tables for affect.toml."""
    from affect.plugins import PluginHost
    from affect.settings.learner import HmmSettings
    from affect_training.learner import host as hosting
    from affect_training.learner.timeline import read_timeline

    if (data is None) == (sessions is None):
        raise SettingsError("name one: --data with a study's time lines, or --simulate with a number of sessions")
    prepare_output(out)
    plugins = PluginHost(_settings(assignments).plugins)
    design = plugins.settings_of(plugins.estimators.get("hmm"))
    assert isinstance(design, HmmSettings)
    if sessions is not None:
        transcripts = hosting.simulated(design, sessions=sessions, minutes=minutes, seed=seed)
    else:
        transcripts = [hosting.of_timeline(session) for session in read_timeline(existing(data), split)]
    table = hosting.fit_host_evidence(transcripts, design, hosting.PRIOR if prior is None else prior)
    told = sum(len(transcript.told) for transcript in transcripts)
    text = f"# fitted to {told} pieces of evidence in {len(transcripts)} sessions\n{hosting.as_toml(table)}"
    click.echo(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


def _settings(assignments: tuple[str, ...], **names: str | None) -> "Settings":
    from affect.cli.main import parse_assignments
    from affect.settings.load import load_settings

    chosen = parse_assignments(assignments)
    keys = {"backend": "inference.backend", "device": "inference.device", "estimator": "learner.estimator"}
    chosen |= {keys[name]: value for name, value in names.items() if value is not None}
    return load_settings(None, chosen).settings


@contextmanager
def _progress(total: int) -> Iterator["Progress"]:
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("watching", total=total)
        yield lambda count: bar.advance(task, count)


def _show(title: str, rows: "Mapping[str, StateFigures | dict[str, Any]]") -> None:
    """Print one table a row of a report: AUC and its 95 % interval over people."""
    click.echo(title)
    for name, found in rows.items():
        values: dict[str, Any] = found if isinstance(found, dict) else found.model_dump(mode="json")
        cells = {
            key: [_cell(values[key][state], values[f"{key}_ci95"][state]) for state in values[key]] for key in _KINDS
        }
        console().print(_table(name, list(values["auc"]), cells))


def _show_spread(title: str, report: "Mapping[str, dict[str, Any]]") -> None:
    """Print one table a row of a study: mean, least and greatest of its fits."""
    click.echo(title)
    for name, row in report.items():
        states = list(row["all"]["auc"])
        cells = {}
        for key in _KINDS:
            spread = [row["runs"][key].get(state) for state in states]
            cells[key] = ["-" if s is None else _cell(s["mean"], (s["least"], s["greatest"])) for s in spread]
        console().print(_table(name, states, cells))


def _table(title: str, states: "Sequence[str]", cells: "Mapping[str, Sequence[str]]") -> Table:
    table = Table(title=title or None, title_justify="left")
    table.add_column("AUC")
    for state in states:
        table.add_column(str(state), justify="right", no_wrap=True)
    for key, row in cells.items():
        table.add_row(_KINDS[key], *row)
    return table


_KINDS = {"auc": "pooled", "auc_per_person": "per person", "auc_within_person": "within"}


def _cell(value: float | None, span: "Sequence[float] | None") -> str:
    """Return `.638 .57-.71`."""
    if value is None:
        return "-"
    text = f"{value:.3f}" if span is None else f"{value:.3f} {span[0]:.2f}-{span[1]:.2f}"
    return text.replace("0.", ".")


def _onsets_table(onsets: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="onsets of events", title_justify="left")
    headings = ("", "onsets", "people", "an hour", "label agrees", "95 %", "of these people's items", "of all items")
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right")
    for state, row in onsets.items():
        if row["count"]:
            low, high = row["labelled_there_ci95"]
            agrees = (f"{row['labelled_there']:.3f}", f"{low:.2f}-{high:.2f}", f"{row['labelled_of_these_people']:.3f}")
        else:
            agrees = ("-", "-", "-")
        numbers = (str(row["count"]), str(row["people"]), f"{row['per_hour']:.1f}")
        table.add_row(state, *numbers, *agrees, f"{row['labelled_anywhere']:.3f}")
    return table


def _events_table(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"{report['backend']}+{report['estimator']}, {report['sessions']} sessions, {report['hours']:.2f} h"
    )
    for heading in ("", "event-F1", "hits", "false alarms", "misses", "onset p50 s", "p95 s", "false alarms/h"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in report["events"].items():
        p50, p95 = ("-" if row[key] is None else f"{row[key]:.1f}" for key in ("onset_p50_s", "onset_p95_s"))
        table.add_row(
            name,
            f"{row['event_f1']:.3f}",
            *(str(row[key]) for key in ("hits", "false_alarms", "misses")),
            p50,
            p95,
            f"{row['false_alarms_per_hour']:.1f}",
        )
    return table
