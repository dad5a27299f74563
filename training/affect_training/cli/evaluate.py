"""affect-train evaluate: score a backend on a split, print it, and write it as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from affect.labels import EMOTIONS
from affect_training.cli.common import (
    CACHE,
    console,
    data_option,
    device_option,
    existing,
    holdout_option,
    prepare_output,
)

if TYPE_CHECKING:
    from rich.console import Console

    from affect_training.evaluation.adversarial import Adversarial
    from affect_training.evaluation.groups import GroupReport
    from affect_training.evaluation.report import Report
    from affect_training.evaluation.robustness import Robustness
    from affect_training.evaluation.significance import McNemar
    from affect_training.evaluation.tta import Tta


@click.command()
@click.argument("backend")
@data_option
@click.option(
    "--split",
    default="PublicTest",
    show_default=True,
    type=click.Choice(["Training", "PublicTest", "PrivateTest"]),
)
@click.option(
    "--tta",
    default="none",
    show_default=True,
    type=click.Choice(["none", "mirror", "shift", "shift-mirror", "augmented"]),
    help="Mean over one, two, five, ten views; augmented: face, mirror image, and seven random copies.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
@click.option("--against", metavar="OTHER", help="McNemar's test against another backend or weights file.")
@click.option("--groups", is_flag=True, help="Figures of each group, when the data has groups.")
@click.option("--robustness", is_flag=True, help="Accuracy under noise, blur, JPEG, darkness, occlusion, ...")
@click.option("--adversarial", is_flag=True, help="Accuracy under FGSM and PGD.")
@click.option("--limit", type=click.IntRange(min=1), help="Score only N faces, drawn at random (always the same).")
@click.option("--unseen", is_flag=True, help="Only faces that share no photograph with Training.")
@holdout_option
@device_option
def evaluate(
    backend: str,
    data: Path | None,
    split: str,
    tta: "Tta",
    json_file: Path | None,
    against: str | None,
    groups: bool,
    robustness: bool,
    adversarial: bool,
    limit: int | None,
    unseen: bool,
    holdout: float,
    device: str,
) -> None:
    """Score BACKEND, a registered name or the path of a .safetensors file, on a split.

    Robustness is measured on 1,000 of the faces and attacks on 500, both single view.
    """
    from affect.errors import MediaError
    from affect.inference.optional import calibration_of, identity_of, manifest_of, sidecar_of
    from affect.pictures import load_backend
    from affect_training.data import load_faces
    from affect_training.data.holdout import hold_out
    from affect_training.data.leaks import unseen as without_seen
    from affect_training.evaluation.adversarial import check_attackable
    from affect_training.evaluation.report import fitted_on, judge
    from affect_training.evaluation.robustness import sample
    from affect_training.evaluation.tta import predict_views
    from affect_training.held_out import check_holdout
    from affect_training.teachers import installed_host

    out = console()
    prepare_output(json_file)
    found = hold_out(load_faces(existing(data), CACHE), holdout)
    whole = without_seen(found, split) if unseen else found.split(split)
    faces = sample(whole, limit)
    check_holdout([backend, *([against] if against else [])], installed_host(), found.sha256, holdout, split)
    if groups and not any(faces.groups or ()):
        raise MediaError(f"--groups: {data} names no groups of {split}")
    classifier = load_backend(backend, device=device)
    other = None if against is None else load_backend(against, device=device)
    if adversarial:
        check_attackable(classifier)
    with out.status(f"{backend} on {split}"):
        views = predict_views(classifier, faces.images, tta)
    answers = views.mean(axis=0)
    sidecar = sidecar_of(classifier.backend)
    fitted = fitted_on(found, split, sidecar.training if sidecar else manifest_of(classifier.backend) or {})
    calibration = calibration_of(classifier.backend)
    report = judge(views, faces.labels, backend, split, tta, calibration=calibration, fitted=fitted)
    facts: dict[str, Any] = {
        **report.to_json(),
        **asdict(identity_of(classifier.backend)),
        "data": found.other_name,
        "data_sha256": found.sha256,
        "holdout": holdout,
        "unseen": unseen,
        "limit": limit if len(faces) < len(whole) else None,
        "device": classifier.device.description,
    }
    _print_report(out, report)
    if against is not None and other is not None:
        from affect_training.evaluation.significance import mcnemar

        with out.status(f"{against} on {split}"):
            rival = predict_views(other, faces.images, tta).mean(axis=0)
        test = mcnemar(answers.argmax(1) == faces.labels, rival.argmax(1) == faces.labels)
        facts["against"] = {"backend": against, **asdict(identity_of(other.backend)), **asdict(test)}
        _print_test(out, backend, against, test)
    if groups:
        from affect_training.evaluation.groups import by_group

        grouped = by_group(answers, faces.labels, faces.groups)
        facts["groups"] = asdict(grouped)
        _print_groups(out, grouped)
    if robustness:
        from affect_training.evaluation.robustness import robustness as measure

        with out.status("robustness") as status:
            curves = measure(lambda images: predict_views(classifier, images)[0], faces, progress=status.update)
        facts["robustness"] = asdict(curves)
        _print_curves(out, curves)
    if adversarial:
        from affect_training.evaluation.adversarial import adversarial as attack

        with out.status("attacks") as status:
            attacked = attack(classifier, faces, progress=status.update)
        facts["adversarial"] = asdict(attacked)
        _print_attacks(out, attacked)
    if json_file is not None:
        json_file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _interval(ci95: tuple[float, float]) -> str:
    return f"{ci95[0]:.4f}-{ci95[1]:.4f}"


def _print_report(out: "Console", report: "Report") -> None:
    from affect.types import Calibration

    single = report.single_view
    table = Table("", report.tta, "95 %", title=f"{report.backend} on {report.split}, n={report.n}, tta {report.tta}")
    if single is not None:
        table.add_column("single view")

    def row(label: str, name: str) -> None:
        ci95, alone = getattr(report, f"{name}_ci95", None), getattr(single, name, None)
        cells = [label, f"{getattr(report, name):.4f}", _interval(ci95) if ci95 else ""]
        if single is not None:
            cells.append("" if alone is None else f"{alone:.4f}")
        table.add_row(*cells)

    row("accuracy", "accuracy")
    row("macro-F1", "macro_f1")
    row("macro recall", "macro_recall")
    row("Cohen's kappa", "kappa")
    crossed = report.ece_cross_fitted is not None
    where = str(Calibration(report.temperature, report.power)) + (", fitted here" if crossed else "")
    for word, name in (("ECE", "ece"), ("class-wise ECE", "ece_classwise"), ("NLL", "nll")):
        if crossed:
            row(f"{word}, cross-fitted", f"{name}_cross_fitted")
        row(f"{word} ({where})", name)
        if name != "ece_classwise":
            row(f"{word}, uncalibrated", f"{name}_uncalibrated")
    out.print(table)
    if crossed:
        out.print("cross-fitted: each half of the faces calibrated by the other half", style="dim")
    names = [emotion.value for emotion in EMOTIONS]
    classes = Table("class", "n", "precision", "recall", "F1", "specificity")
    sureness = Table("guess", "faces", "confidence", "right", "ECE, cross-fitted" if crossed else "ECE")
    cells = Table("label, guess →", *names)
    for name, shares in zip(names, report.confusion_normalised, strict=True):
        figures = report.per_class[name]
        values = [f"{figures[key]:.3f}" for key in ("precision", "recall", "f1", "specificity")]
        sure = report.class_reliability[name]
        believed = ["" if value is None else f"{value:.3f}" for value in (sure.confidence, sure.right, sure.ece)]
        sureness.add_row(name, str(sure.guessed), *believed)
        classes.add_row(name, f"{figures['n']:d}", *values)
        cells.add_row(name, *(f"{share:.2f}" for share in shares))
    for each in (classes, sureness, cells):
        out.print(each)


def _print_test(out: "Console", first: str, second: str, test: "McNemar") -> None:
    out.print(
        f"{first} - {second}: {test.difference:+.4f} accuracy (95 % {_interval(test.difference_ci95)}); only {first} "
        f"right {test.only_first}, only {second} right {test.only_second}; McNemar p = {test.p:.3g} ({test.method})"
    )


def _print_groups(out: "Console", report: "GroupReport") -> None:
    table = Table("group", "n", "accuracy", "95 %", "macro recall", "95 %")
    for group in report.groups:
        table.add_row(
            group.group,
            str(group.n),
            f"{group.accuracy:.4f}",
            _interval(group.accuracy_ci95),
            f"{group.macro_recall:.4f}",
            _interval(group.macro_recall_ci95),
        )
    table.add_section()
    gap_p = f"p = {report.accuracy_gap_p:.3g}"
    table.add_row("gap", "", f"{report.accuracy_gap:.4f}", gap_p, f"{report.macro_recall_gap:.4f}", "")
    out.print(table)
    if report.without:
        out.print(f"{report.without} faces name no group", style="dim")


def _print_curves(out: "Console", found: "Robustness") -> None:
    table = Table("accuracy at severity", *"12345", "mean", title=f"robustness, n={found.n}")
    for name, curve in found.curves.items():
        points = [_above(f"{point.accuracy:.3f}", f"{point.severity:g}") for point in curve.points]
        table.add_row(_above(name, curve.unit), *points, f"{curve.mean:.3f}")
    table.add_section()
    table.add_row("all", *("" for _ in range(5)), f"{found.mean:.3f}")
    table.add_row("untouched", *("" for _ in range(5)), f"{found.clean.accuracy:.3f}")
    out.print(table)


def _print_attacks(out: "Console", found: "Adversarial") -> None:
    epsilons = sorted({figures.epsilon for figures in found.attacks})
    table = Table("attack", "none", *(f"{epsilon:g}/255" for epsilon in epsilons), title=f"under attack, n={found.n}")
    for attack in dict.fromkeys(figures.attack for figures in found.attacks):
        values = {figures.epsilon: figures.accuracy for figures in found.attacks if figures.attack == attack}
        table.add_row(attack, f"{found.clean:.3f}", *(f"{values[epsilon]:.3f}" for epsilon in epsilons))
    out.print(table)


def _above(value: str, what: str) -> Text:
    """Return a value with a dim line below it."""
    return Text.assemble(value, "\n", (what, "dim"))
