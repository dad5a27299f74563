"""The parts of a card that hold figures: of the sidecar, by emotion, calibration, robustness, groups, states."""

from collections.abc import Mapping

import numpy as np

from affect.labels import EMOTIONS
from affect.types import Calibration
from affect_training.evaluation import metrics
from affect_training.evaluation.calibration import cross_fitted, uncalibrated
from affect_training.evaluation.metrics import ClassReliability, Labels
from affect_training.evaluation.report import FITTED_ON
from affect_training.report.facts import CardFacts
from affect_training.report.further import Evaluation, WholePictures
from affect_training.report.markdown import interval, table

_NAMES = tuple(e.value for e in EMOTIONS)
_WORDS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "macro_recall": "macro recall",
    "nll": "NLL, cross-fitted",
    "ece": "ECE, cross-fitted",
    "ece_half": "ECE, calibrated by the other half",
    "nll_half": "NLL, calibrated by the other half",
    "ece_uncalibrated": "ECE, uncalibrated",
}
_CROSSED = "Each half is calibrated by the other."
_BY_CLASS = (
    "Class by class: how sure the guesses of an emotion are and how many are right, and the calibration error of the "
    "probability of that emotion over all faces."
)
_SMALLEST = 1e-7
"""The smallest number that answers kept in float16 tell from 0."""
RELIABILITY_HEAD = ("emotion", "guessed", "confidence", "right", "difference", "ECE")


def figures_part(facts: CardFacts) -> list[str]:
    """Write the figures of the sidecar and of further evaluations."""
    rows = []
    for name, metric in facts.metrics.items():
        if not name.startswith("recall_"):
            word = _WORDS.get(name, name.replace("_", " "))
            rows.append((word, f"{metric.value:.4f}", interval(metric.ci95), metric.split, str(metric.n)))
    for found in facts.evaluations:
        where = f"{found.faces}, {found.source}"
        views = "single view" if found.tta == "none" else found.tta
        if found.single_view:
            rows.append(
                (
                    "accuracy, single view",
                    f"{found.single_view.accuracy:.4f}",
                    interval(found.single_view.accuracy_ci95),
                    where,
                    str(found.n),
                )
            )
        rows.append((f"accuracy, {views}", f"{found.accuracy:.4f}", interval(found.accuracy_ci95), where, str(found.n)))
        for value, word in (
            (found.macro_f1, "macro-F1"),
            (found.macro_recall, "macro recall"),
            (found.ece, "ECE") if found.ece_cross_fitted is None else (found.ece_cross_fitted, "ECE, cross-fitted"),
            (found.nll, "NLL") if found.nll_cross_fitted is None else (found.nll_cross_fitted, "NLL, cross-fitted"),
        ):
            rows.append((f"{word}, {views}", f"{value:.4f}", "", where, str(found.n)))
    if not rows:
        return []
    return ["## Figures", "", *table(("figure", "value", "95 %", "on", "faces"), rows), ""]


def classes_part(facts: CardFacts) -> list[str]:
    """Write figures by emotion and the confusion matrix."""
    counted = counts_of(facts)
    if counted is None:
        return []
    counts, where = counted
    rows = []
    for k, figures in enumerate(metrics.per_class(counts)):
        recall = f"{figures.recall:.3f}"
        if figures.n:
            hits = np.arange(figures.n) < counts[k, k]
            recall += f" ({interval(metrics.bootstrap_ci95(hits))})"
        values = (f"{figures.precision:.3f}", recall, f"{figures.f1:.3f}", f"{figures.specificity:.3f}")
        rows.append((_NAMES[k], str(figures.n), *values))
    head = ("emotion", "faces", "precision", "recall (95 %)", "F1", "specificity")
    shares = metrics.normalised(counts)
    confusion = [(_NAMES[k], *(f"{share:.2f}" for share in row)) for k, row in enumerate(shares)]
    return [
        "## Emotions",
        "",
        f"{where}.",
        "",
        *table(head, rows),
        "",
        "Confusion, shares of each row; rows are labels, columns guesses.",
        "",
        *table(("label", *_NAMES), confusion),
        "",
    ]


def calibration_part(facts: CardFacts) -> list[str]:
    """Write calibration, its errors and the reliability of each emotion."""
    lines: list[str] = []
    if facts.calibration is not None:
        before, after = facts.metrics.get("ece_uncalibrated"), facts.metrics.get("ece")
        line = f"Calibration: {facts.calibration}."
        if before and after:
            line += (
                f" ECE (15 bins) {before.value:.4f} before, {after.value:.4f} after, each half of {after.split} judged "
                "as calibrated by the other."
            )
        if half := facts.metrics.get("ece_half"):
            line += f" On one half alone, calibrated by the other: {half.value:.4f}."
        lines += [line, ""]
    if facts.answers is not None and len(facts.answers.labels) > 1:
        known = facts.calibration or Calibration()
        outputs = np.log(uncalibrated(np.clip(facts.answers.probabilities, _SMALLEST, None), known))
        crossed = cross_fitted(outputs, facts.answers.labels, power=known.power != 1)
        figures = dict(zip(_NAMES, metrics.class_reliability(crossed, facts.answers.labels), strict=True))
        lines += [f"{_BY_CLASS} {_CROSSED}", ""]
        lines += [*table(RELIABILITY_HEAD, reliability_rows(figures)), ""]
    for k, found in enumerate(one for one in facts.evaluations if one.class_reliability):
        views = "single view" if found.tta == "none" else found.tta
        crossed_too = f" {_CROSSED}" if found.ece_cross_fitted is not None else ""
        what = "The same on" if k or facts.answers is not None else f"{_BY_CLASS} On"
        lines += [f"{what} {found.faces}, {views}, from {found.source}.{crossed_too}", ""]
        lines += [*table(RELIABILITY_HEAD, reliability_rows(found.class_reliability)), ""]
    return ["## Calibration", "", *lines] if lines else []


def reliability_rows(figures: Mapping[str, ClassReliability]) -> list[tuple[str, ...]]:
    """Return the cells below `RELIABILITY_HEAD`, a row for each emotion."""
    rows: list[tuple[str, ...]] = []
    for name, found in figures.items():
        if found.confidence is None or found.right is None:
            rows.append((name, "0", "", "", "", f"{found.ece:.3f}"))
        else:
            sure, right = found.confidence, found.right
            shares = (f"{sure:.3f}", f"{right:.3f}", f"{sure - right:+.3f}")
            rows.append((name, str(found.guessed), *shares, f"{found.ece:.3f}"))
    return rows


def whole_pictures_part(found: WholePictures) -> list[str]:
    """Write what becomes of faces in whole pictures."""
    missed = ", ".join(f"{name} {gone} of {count}" for name, (gone, count) in found.missed.items())
    low, high = found.difference_ci95
    rows = [
        ("faces found", f"{found.recall:.3f} ({interval(found.recall_ci95)})"),
        ("right in the frame that finds them", f"{found.accuracy_first:.3f} of the found"),
        ("right in the next frame, tracked", f"{found.accuracy_tracked:.3f} of those still tracked"),
        ("found, but lost in the next frame", str(found.lost)),
        ("right as the data set crops them", f"{found.accuracy_direct:.3f} of the found"),
        ("the same, all faces", f"{found.accuracy_direct_all:.3f}"),
        ("tracked minus cropped, 95 %", f"{low:+.3f} to {high:+.3f}"),
        ("missed", missed),
        ("boxes where no face was laid", str(found.false_faces)),
    ]
    where = f" of {found.faces}" if found.split else ""
    return [
        "## Whole pictures",
        "",
        f"{found.n} faces{where}, enlarged, laid into pictures, found by `{found.detector}`, tracked and cropped. From "
        f"{found.source}.",
        "",
        *table(("what", ""), rows),
        "",
    ]


def evaluation_part(found: Evaluation) -> list[str]:
    """Write robustness, attacks and groups of one evaluation."""
    lines: list[str] = []
    if found.robustness:
        curves = found.robustness
        rows = [
            (
                f"{name} ({curve.unit})",
                *(f"{p.accuracy:.3f} at {p.severity:g}" for p in curve.points),
                f"{curve.mean:.3f}",
            )
            for name, curve in curves.curves.items()
        ]
        width = max(len(curve.points) for curve in curves.curves.values())
        lines += [
            "## Robustness",
            "",
            f"Accuracy on {curves.n} faces of {found.faces} as pictures get worse; untouched "
            f"{curves.clean.accuracy:.3f} ({interval(curves.clean.accuracy_ci95)}), mean over all "
            f"{curves.mean:.3f}. From {found.source}.",
            "",
            *table(("corruption", *(f"{k + 1}" for k in range(width)), "mean"), rows),
            "",
        ]
    if found.adversarial:
        attacked = found.adversarial
        epsilons = sorted({a.epsilon for a in attacked.attacks})
        rows = []
        for attack in dict.fromkeys(a.attack for a in attacked.attacks):
            values = {a.epsilon: a.accuracy for a in attacked.attacks if a.attack == attack}
            rows.append((attack.upper(), f"{attacked.clean:.3f}", *(f"{values[e]:.3f}" for e in epsilons)))
        lines += [
            "## Under attack",
            "",
            f"Accuracy on {attacked.n} faces of {found.faces} when every pixel may change by so many grey levels. "
            f"From {found.source}.",
            "",
            *table(("attack", "0", *(f"{e:g}" for e in epsilons)), rows),
            "",
        ]
    if found.groups:
        rows = [
            (g.group, str(g.n), f"{g.accuracy:.3f}", interval(g.accuracy_ci95), f"{g.macro_recall:.3f}")
            for g in found.groups.groups
        ]
        lines += [
            "## Groups",
            "",
            f"{found.faces}, {found.source}. Largest gap in accuracy {found.groups.accuracy_gap:.3f} "
            f"(p = {found.groups.accuracy_gap_p:.3g} by chance), in macro recall {found.groups.macro_recall_gap:.3f}.",
            "",
            *table(("group", "faces", "accuracy", "95 %", "macro recall"), rows),
            "",
        ]
    return lines


def counts_of(facts: CardFacts) -> tuple[Labels, str] | None:
    """Return the confusion counts [7, 7] of the answers, or of an evaluation of PublicTest, and what they are of.

    Of an ensemble those as it votes, with mirror images if it looks at these. None without either.
    """
    if facts.answers is not None:
        answers = facts.answers
        counts = metrics.confusion(answers.probabilities.argmax(1), answers.labels, len(_NAMES))
        return counts, "PublicTest, as it votes" if facts.members else "PublicTest, single view"
    served = facts.served_views
    whole = [one for one in facts.evaluations if one.confusion and not one.unseen and one.limit is None]
    chosen = [one for one in whole if one.split == FITTED_ON]
    found = min(chosen, key=lambda one: (one.data is not None, one.tta != served, one.tta != "none"), default=None)
    if found is None:
        return None
    how = "as it votes" if facts.vote and found.tta == served else "single view" if found.tta == "none" else found.tta
    return np.array(found.confusion, np.int64), f"{found.faces}, {how}"


def learner_part(facts: CardFacts) -> list[str]:
    """Write what was fitted on these weights to read learner states, and how well that reads."""
    fit = facts.learner
    if fit is None:
        return []
    lines = [
        "## Learner states",
        "",
        f"Fitted on {fit.faces:,} faces of {fit.people} people: {fit.data} {fit.licence}".rstrip(),
        "",
        "Areas under the ROC curve, cross-validated by person.",
        "",
    ]
    rows = []
    for what, found in fit.figures.items():
        for state, area in found.auc.items():
            if area is not None:
                within = found.auc_within_person.get(state)
                rows.append(
                    (
                        what,
                        state.value,
                        f"{area:.3f}",
                        interval(found.auc_ci95.get(state)),
                        "" if within is None else f"{within:.3f}",
                        interval(found.auc_within_person_ci95.get(state)),
                    )
                )
    return [*lines, *table(("what", "state", "AUC", "95 %", "within a person", "95 %"), rows), ""]
