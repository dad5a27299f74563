"""`affect-train report`: one page, its plots as PNG and SVG, the figures as JSON, and the card."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affect.labels import EMOTIONS
from affect_training.evaluation import metrics
from affect_training.evaluation.report import FITTED_ON, Report, judge
from affect_training.report import plots
from affect_training.report.card import card
from affect_training.report.examples import example_sheet, one_of_each, surest_errors
from affect_training.report.history import curves
from affect_training.report.measured import RELIABILITY_HEAD, reliability_rows
from affect_training.report.page import Section, Table, Tile, facts_table, write_page
from affect_training.report.style import Plot
from affect_training.report.subject import Subject

Progress = Callable[[str], None]


def write_report(subject: Subject, out: Path, *, examples: bool = True, progress: Progress = lambda _: None) -> Path:
    """Write the report of a subject.

    Args:
        subject: From `open_subject`.
        out: Folder to write to; made when missing.
        examples: Whether faces of the data are shown. Data sets forbid publishing theirs; leave them out for a page
            that others will see.
        progress: Gets the path of each plot written.

    Returns:
        The page, `report.html`. Beside it: `report.json`, `card.md`, and each plot as PNG and SVG.
    """
    out.mkdir(parents=True, exist_ok=True)
    report = judge(
        subject.served[None],
        subject.split.labels,
        subject.name,
        subject.split_name,
        calibration=subject.calibration,
        fitted=subject.fitted,
    )
    text = card(subject.facts)
    sections = [
        *_training(subject),
        *_results(subject, report),
        *(_examples(subject, out, progress) if examples else ()),
        *_evaluations(subject),
        *_provenance(subject),
        Section("Model card", markdown=text),
    ]
    for section in sections:
        for plot in section.plots:
            _save(plot, out, progress)
    (out / "card.md").write_text(text, encoding="utf-8")
    identity = {"weights_sha256": subject.facts.weights_sha256, "fingerprint": subject.facts.fingerprint}
    figures = json.dumps({**report.to_json(), **identity, "data": subject.data}, indent=2) + "\n"
    (out / "report.json").write_text(figures, encoding="utf-8")
    page = out / "report.html"
    where = f"{subject.split_name} of {subject.data}" if subject.data else subject.split_name
    note = f"{subject.facts.summary or 'Report'} · {where}, {len(subject.split):,} faces, {subject.views}"
    write_page(page, subject.name, note, sections, _tiles(subject, report))
    return page


def _tiles(subject: Subject, report: Report) -> list[Tile]:
    def interval(ci95: tuple[float, float]) -> str:
        return f"95 %: {ci95[0]:.3f} to {ci95[1]:.3f}"

    crossed = ", cross-fitted" if report.ece_cross_fitted is not None else ""
    ece = report.ece if report.ece_cross_fitted is None else report.ece_cross_fitted
    nll = report.nll if report.nll_cross_fitted is None else report.nll_cross_fitted
    return [
        Tile("Accuracy", f"{100 * report.accuracy:.1f} %", interval(report.accuracy_ci95)),
        Tile("Macro-F1", f"{report.macro_f1:.3f}", interval(report.macro_f1_ci95)),
        Tile("Macro recall", f"{report.macro_recall:.3f}", interval(report.macro_recall_ci95)),
        Tile("Cohen's kappa", f"{report.kappa:.3f}", interval(report.kappa_ci95)),
        Tile(f"ECE{crossed}", f"{ece:.3f}", f"{report.ece_uncalibrated:.3f} uncalibrated"),
        Tile(f"NLL{crossed}", f"{nll:.3f}", f"{report.nll_uncalibrated:.3f} before"),
    ]


def _training(subject: Subject) -> list[Section]:
    if not subject.log:
        return []
    return [Section("Training", plots=(curves(subject.log, subject.best_epoch),))]


def _results(subject: Subject, report: Report) -> list[Section]:
    counts = np.asarray(report.confusion, np.int64)
    figures = metrics.per_class(counts)
    table = Table(
        "Figures by emotion",
        ("emotion", "faces", "precision", "recall", "F1", "specificity"),
        tuple(
            (e.value, f"{f.n:,}", f"{f.precision:.3f}", f"{f.recall:.3f}", f"{f.f1:.3f}", f"{f.specificity:.3f}")
            for e, f in zip(EMOTIONS, figures, strict=True)
        ),
    )
    crossed = report.ece_cross_fitted is not None
    how = (
        "each half of the faces calibrated by the other half"
        if crossed
        else f"{subject.calibration}, fitted on {FITTED_ON}"
    )
    reliability = Table(
        f"Reliability by emotion{', cross-fitted' if crossed else ''}",
        RELIABILITY_HEAD,
        tuple(reliability_rows(report.class_reliability)),
    )
    return [
        Section("Confusion", plots=plots.confusion_plots(counts)),
        Section("Emotions", plots=(plots.class_bars(figures),), tables=(table,)),
        Section(
            "Calibration",
            plots=(
                plots.reliability_plot(subject.raw, subject.honest, subject.split.labels, how),
                plots.confidence_plot(subject.served, subject.split.labels),
            ),
            tables=(reliability,),
        ),
    ]


def _examples(subject: Subject, out: Path, progress: Progress) -> list[Section]:
    parts = (
        (
            "examples-right",
            "Right",
            "One face of each emotion, drawn at random among the right guesses.",
            one_of_each(subject.split, subject.served, right=True),
        ),
        (
            "examples-wrong",
            "Wrong",
            "One face of each emotion, drawn at random among the wrong guesses. Blue is the label, orange the guess.",
            one_of_each(subject.split, subject.served, right=False),
        ),
        (
            "examples-surest-errors",
            "Surest errors",
            "The wrong guesses with the highest probability. Some of them are wrong labels.",
            surest_errors(subject.split, subject.served),
        ),
    )
    sections = []
    for name, title, intro, shown in parts:
        if shown:
            _save(example_sheet(name, title, shown), out, progress)
            sections.append(Section(title, intro, examples=tuple(face.on_page() for face in shown)))
    return sections


def _evaluations(subject: Subject) -> list[Section]:
    robust, groups = [], []
    for number, found in enumerate(subject.facts.evaluations):
        source = f"{found.source} ({found.backend}, {found.faces})"
        if found.robustness:
            robust.append(_numbered(plots.robustness_plot(found.robustness, source), number))
        if found.adversarial:
            robust.append(_numbered(plots.adversarial_plot(found.adversarial, source), number))
        if found.groups:
            groups.append(_numbered(plots.groups_plot(found.groups, source), number))
    sections = []
    if robust:
        sections.append(Section("Robustness", plots=tuple(robust)))
    if groups:
        sections.append(Section("Groups", plots=tuple(groups)))
    return sections


def _provenance(subject: Subject) -> list[Section]:
    rest = {key: value for key, value in subject.provenance.items() if key != "config"}
    tables = (
        facts_table("Where the figures come from", _flat(rest)),
        facts_table("Configuration", _flat(subject.facts.config)),
    )
    return [Section("Provenance", tables=tuple(table for table in tables if table.rows))]


def _flat(values: Mapping[str, Any], start: str = "") -> dict[str, str]:
    """Name nested values with dots and write them as in a run file."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{start}{key}.")
        elif isinstance(value, list | tuple):
            flat[f"{start}{key}"] = ", ".join(map(str, value)) or "none"
        elif value is not None and value != "":
            flat[f"{start}{key}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return flat


def _numbered(plot: Plot, number: int) -> Plot:
    """Keep the plots of several evaluation files apart."""
    return plot if number == 0 else Plot(f"{plot.name}-{number + 1}", plot.title, plot.caption, plot.draw, plot.wide)


def _save(plot: Plot, out: Path, progress: Progress) -> None:
    png, _ = plot.save(out)
    progress(str(png))
