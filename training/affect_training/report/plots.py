"""Figures of a classifier as plots: confusion, classes, calibration, confidence, robustness, attacks, groups."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from affect.labels import EMOTIONS
from affect_training.evaluation.adversarial import Adversarial
from affect_training.evaluation.groups import GroupReport
from affect_training.evaluation.metrics import (
    ClassFigures,
    Floats,
    Labels,
    ReliabilityBin,
    ece,
    normalised,
    reliability,
)
from affect_training.evaluation.robustness import Robustness
from affect_training.report.style import WIDTH, Plot, Theme, grid_lines, ink_on, new_figure

_NAMES = tuple(e.value for e in EMOTIONS)


def confusion_plots(counts: Labels) -> tuple[Plot, Plot]:
    """Plot the confusion matrix [7, 7] as counts and as shares of each row."""
    shares = normalised(counts)
    off = shares - np.diag(np.diag(shares))
    worst = np.unravel_index(off.argmax(), off.shape)
    caption = f"Rows are labels, columns guesses; {int(counts.sum())} faces."
    most = (
        f"Shares of each row. Most often mistaken: {_NAMES[worst[0]]} for {_NAMES[worst[1]]}, "
        f"{100 * off[worst]:.0f} % of its faces."
        if off.max() > 0
        else "Shares of each row."
    )
    scale = counts / max(int(counts.max()), 1)
    return (
        _matrix("confusion-normalised", "Confusion, shares", most, shares, [[f"{v:.2f}" for v in r] for r in shares]),
        _matrix("confusion", "Confusion, counts", caption, scale, [[str(v) for v in r] for r in counts]),
    )


def _matrix(name: str, title: str, caption: str, scale: Floats, texts: list[list[str]]) -> Plot:
    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 4.4)
        axes = figure.subplots()
        axes.imshow(scale, cmap=theme.ramp(), vmin=0, vmax=1)
        for y, row in enumerate(texts):
            for x, text in enumerate(row):
                axes.text(x, y, text, ha="center", va="center", color=ink_on(theme, float(scale[y, x])), fontsize=8.5)
        axes.set_xticks(range(len(_NAMES)), _NAMES, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(_NAMES)), _NAMES)
        axes.set_xlabel("guess")
        axes.set_ylabel("label")
        axes.tick_params(length=0)
        for edge in np.arange(0.5, len(_NAMES) - 1):
            axes.axhline(edge, color=theme.paper, lw=1)
            axes.axvline(edge, color=theme.paper, lw=1)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return figure

    return Plot(name, title, caption, draw)


def class_bars(figures: list[ClassFigures]) -> Plot:
    """Plot precision, recall and F1 of each emotion."""

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 3.2)
        axes = figure.subplots()
        places = np.arange(len(_NAMES))
        for k, (what, colour) in enumerate(
            (("precision", theme.second), ("recall", theme.first), ("f1", theme.third)),
        ):
            values = [getattr(f, what) for f in figures]
            axes.bar(places + (k - 1) * 0.27, values, width=0.25, color=colour, label=what.replace("f1", "F1"))
        axes.set_xticks(places, [f"{n}\n{f.n}" for n, f in zip(_NAMES, figures, strict=True)], fontsize=8.5)
        axes.set_ylim(0, 1)
        grid_lines(axes)
        axes.spines["left"].set_visible(False)
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return figure

    worst = min((k for k in range(len(_NAMES)) if figures[k].n), key=lambda k: figures[k].f1, default=0)
    caption = (
        f"Below the names, faces of each emotion. Lowest F1: {_NAMES[worst]}, {figures[worst].f1:.2f} "
        f"(precision {figures[worst].precision:.2f}, recall {figures[worst].recall:.2f})."
    )
    return Plot("per-class", "Precision, recall and F1", caption, draw)


def reliability_plot(before: Floats, after: Floats, labels: Labels, how: str) -> Plot:
    """Plot how often guesses of a confidence are right, before and after the calibration.

    Args:
        before: Probabilities [N, 7], uncalibrated.
        after: Calibrated.
        labels: The truth [N].
        how: By what, as the end of a sentence.
    """
    first, second = ece(before, labels), ece(after, labels)

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 4.4)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=theme.muted, lw=1, ls=":")
        for bins, colour, marker, label in (
            (reliability(before, labels), theme.second, "s", f"before: ECE {first:.3f}"),
            (reliability(after, labels), theme.first, "o", f"after: ECE {second:.3f}"),
        ):
            x, y, size = _points(bins)
            axes.plot(x, y, color=colour, lw=1.4, label=label)
            axes.scatter(x, y, s=size, color=colour, marker=marker, edgecolors=theme.paper, linewidths=0.8, zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        grid_lines(axes, "both")
        axes.legend(loc="upper left")
        return figure

    caption = (
        f"Faces in 15 bins by the probability of the guess; larger points hold more. On the dotted line the classifier "
        f"is as often right as it says. Before: uncalibrated; after: {how}."
    )
    return Plot("reliability", "Reliability", caption, draw)


def _points(bins: list[ReliabilityBin]) -> tuple[list[float], list[float], list[float]]:
    full = [b for b in bins if b.confidence is not None and b.accuracy is not None]
    total = sum(b.n for b in full)
    sizes = [16 + 500 * b.n / total for b in full]
    return [float(b.confidence or 0) for b in full], [float(b.accuracy or 0) for b in full], sizes


def confidence_plot(probabilities: Floats, labels: Labels) -> Plot:
    """Plot how many guesses of a confidence are right and wrong."""
    top = probabilities.max(axis=1)
    right = probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, 26)
    sure = top >= 0.9

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 4.4)
        axes = figure.subplots()
        axes.hist(
            [top[right], top[~right]],
            bins=list(edges),
            stacked=True,
            color=[theme.first, theme.second],
            label=["right", "wrong"],
            edgecolor=theme.paper,
            linewidth=0.6,
        )
        axes.set_xlim(0.1, 1)
        axes.set_xlabel("confidence (calibrated)")
        axes.set_ylabel("faces")
        grid_lines(axes)
        axes.legend(loc="upper left")
        return figure

    caption = (
        f"{100 * sure.mean():.0f} % of the guesses have a probability of .9 or more"
        + (f"; {100 * right[sure].mean():.0f} % of those are right." if sure.any() else ".")
        + f" Mean confidence {top.mean():.2f}, accuracy {right.mean():.2f}."
    )
    return Plot("confidence", "Confidence", caption, draw)


def robustness_plot(found: Robustness, source: str) -> Plot:
    """Plot accuracy over the severity of each corruption."""

    def draw(theme: Theme) -> Figure:
        rows = -(-len(found.curves) // 2)
        figure = new_figure(WIDTH, 1.75 * rows)
        cells = figure.subplots(rows, 2, sharey=True, squeeze=False).ravel()
        for cell in cells[len(found.curves) :]:
            cell.remove()
        for cell, (name, curve) in zip(cells, found.curves.items(), strict=False):
            places = np.arange(len(curve.points) + 1)
            points = (found.clean, *curve.points)
            low, high = zip(*(p.accuracy_ci95 for p in points), strict=True)
            cell.fill_between(places, low, high, color=theme.first, alpha=0.2, lw=0)
            cell.plot(places, [p.accuracy for p in points], color=theme.first, marker="o", ms=3)
            cell.axhline(found.clean.accuracy, color=theme.muted, lw=1, ls=":")
            cell.set_xticks(places, ["–", *(f"{p.severity:g}" for p in curve.points)], fontsize=7)
            cell.set_title(name)
            cell.set_xlabel(curve.unit, fontsize=7)
            cell.set_ylim(0, 1)
            grid_lines(cell)
        return figure

    caption = (
        f"Accuracy on {found.n} faces as pictures get worse, with 95 % intervals; dotted: untouched, "
        f"{found.clean.accuracy:.3f}. Mean over all corruptions and severities: {found.mean:.3f}. From {source}."
    )
    return Plot("robustness", "Worse pictures", caption, draw)


def adversarial_plot(found: Adversarial, source: str) -> Plot:
    """Plot accuracy over the largest change of a pixel an attacker may make."""

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 3.4)
        axes = figure.subplots()
        for attack, colour, marker in (("fgsm", theme.first, "o"), ("pgd", theme.second, "s")):
            points = [(0.0, found.clean), *((a.epsilon, a.accuracy) for a in found.attacks if a.attack == attack)]
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=4, label=attack.upper())
        axes.set_ylim(0, 1)
        axes.set_xlabel("largest change of a pixel, grey levels of 255")
        axes.set_ylabel("accuracy")
        grid_lines(axes)
        axes.legend()
        return figure

    caption = f"Accuracy on {found.n} faces against an attacker who knows the network. From {source}."
    return Plot("adversarial", "Under attack", caption, draw)


def groups_plot(found: GroupReport, source: str) -> Plot:
    """Plot accuracy and macro recall of each group with their intervals."""

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 0.7 + 0.34 * len(found.groups))
        axes = figure.subplots()
        places = np.arange(len(found.groups))
        for shift, what, colour, marker in (
            (-0.12, "accuracy", theme.first, "o"),
            (0.12, "macro_recall", theme.second, "s"),
        ):
            values = np.array([getattr(g, what) for g in found.groups])
            bounds = np.array([getattr(g, f"{what}_ci95") for g in found.groups])
            spread = np.abs(bounds.T - values)
            axes.errorbar(
                values,
                places + shift,
                xerr=spread,
                fmt=marker,
                ms=4,
                lw=1.2,
                color=colour,
                label=what.replace("_", " "),
            )
        axes.set_yticks(places, [f"{g.group} ({g.n})" for g in found.groups])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        grid_lines(axes, "x")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        return figure

    caption = (
        f"95 % intervals; in brackets faces. Largest gap in accuracy {found.accuracy_gap:.3f}, reached by chance with "
        f"p = {found.accuracy_gap_p:.3g}. From {source}."
    )
    return Plot("groups", "Accuracy by group", caption, draw)
