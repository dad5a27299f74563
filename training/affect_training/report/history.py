"""A run's log.csv as numbers, and its curves."""

import csv
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from affect.errors import MediaError
from affect_training.report.style import WIDTH, Plot, Theme, grid_lines, new_figure


@dataclass(frozen=True, slots=True)
class Epoch:
    """A row of the log; macro recall is None in logs of early versions."""

    epoch: int
    lr: float
    train_loss: float
    loss: float
    accuracy: float
    macro_recall: float | None


def read_log(path: Path) -> tuple[Epoch, ...]:
    """Read a log.csv.

    Raises:
        MediaError: No such file, or a row is not as a run writes it; names file and row.
    """
    epochs: list[Epoch] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    recall = row.get("public_macro_recall")
                    epochs.append(
                        Epoch(
                            int(row["epoch"]),
                            float(row["lr"]),
                            float(row["train_loss"]),
                            float(row["public_loss"]),
                            float(row["public_accuracy"]),
                            None if recall is None else float(recall),
                        )
                    )
                except (KeyError, TypeError, ValueError) as exc:
                    raise MediaError(
                        f"{path}, row {number}: expected epoch, lr, train_loss, public_loss, public_accuracy ({exc})"
                    ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise MediaError(f"{path}: not the log of a run ({exc})") from exc
    return tuple(epochs)


def curves(epochs: tuple[Epoch, ...], best_epoch: int | None) -> Plot:
    """Plot losses, accuracy and macro recall, and the learning rate over the epochs."""
    x = [e.epoch for e in epochs]
    recalls = [(e.epoch, e.macro_recall) for e in epochs if e.macro_recall is not None]
    marker = "o" if len(epochs) == 1 else None

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 5.0)
        losses, scores, rates = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.4))
        losses.plot(x, [e.train_loss for e in epochs], color=theme.third, label="Training", marker=marker)
        losses.plot(x, [e.loss for e in epochs], color=theme.first, label="PublicTest", marker=marker)
        losses.set_title("loss")
        scores.plot(x, [e.accuracy for e in epochs], color=theme.first, label="accuracy", marker=marker)
        if recalls:
            scores.plot(*zip(*recalls, strict=True), "--", color=theme.second, label="macro recall", marker=marker)
        scores.set_title("PublicTest")
        rates.plot(x, [e.lr for e in epochs], color=theme.third, marker=marker)
        if 2 * len({e.lr for e in epochs}) <= len(epochs) and min(e.lr for e in epochs) > 0:  # cut in steps
            rates.set_yscale("log")
        rates.set_title("learning rate")
        rates.set_xlabel("epoch")
        for axes in (losses, scores, rates):
            grid_lines(axes)
            if best_epoch is not None:
                axes.axvline(best_epoch, color=theme.muted, lw=1, ls=":")
        losses.legend()
        scores.legend(loc="lower right")
        return figure

    last = epochs[-1]
    caption = f"{len(epochs)} epochs, the last with a loss of {last.train_loss:.3f} and {last.loss:.3f} on PublicTest."
    if best_epoch is not None:
        caption += f" Dotted: epoch {best_epoch}, whose weights are judged here."
    return Plot("curves", "Losses and scores", caption, draw)
