"""Which faces a report shows: right and wrong ones as they come, and the errors the classifier was surest of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from affect.labels import EMOTIONS
from affect.types import ByteArray
from affect_training.data import Split
from affect_training.evaluation.metrics import Floats
from affect_training.report.page import Bar, Example
from affect_training.report.style import Plot, Theme, new_figure, png_uri, show_image

_NAMES = tuple(e.value for e in EMOTIONS)
CONFIDENT = 12
"""Errors shown of those the classifier was surest of."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A face with its label, its probabilities [7], and its row in the data."""

    image: ByteArray
    label: int
    probabilities: Floats
    row: int

    @property
    def guess(self) -> int:
        """Return the number of the most probable emotion."""
        return int(self.probabilities.argmax())

    @property
    def title(self) -> str:
        """Say what it is, what it was taken for, and where it is to be found."""
        taken = "" if self.guess == self.label else f", taken for {_NAMES[self.guess]}"
        return f"{_NAMES[self.label]}{taken} (row {self.row})"

    def on_page(self) -> Example:
        """Return it for a page."""
        bars = tuple(
            Bar(name, float(share), k == self.label, k == self.guess)
            for k, (name, share) in enumerate(zip(_NAMES, self.probabilities, strict=True))
        )
        return Example(png_uri(self.image), self.title, self.guess == self.label, bars)


def one_of_each(split: Split, probabilities: Floats, *, right: bool, seed: int = 0) -> list[Shown]:
    """Draw one face of each emotion, among those that were guessed right or wrong; fewer where there is none."""
    hit = (probabilities.argmax(1) == split.labels) == right
    rng = np.random.default_rng(seed)
    chosen = []
    for k in range(len(EMOTIONS)):
        among = np.flatnonzero(hit & (split.labels == k))
        if len(among):
            chosen.append(int(among[rng.integers(len(among))]))
    return [_shown(split, probabilities, k) for k in chosen]


def surest_errors(split: Split, probabilities: Floats, count: int = CONFIDENT) -> list[Shown]:
    """Return the errors with the largest top probability, the surest first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != split.labels)
    order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    return [_shown(split, probabilities, int(k)) for k in order[:count]]


def example_sheet(name: str, title: str, shown: Sequence[Shown]) -> Plot:
    """Plot faces with horizontal bars of their probabilities beside them, two in a row."""

    def draw(theme: Theme) -> Figure:
        rows = -(-len(shown) // 2)
        figure = new_figure(7.2, 1.55 * rows)
        cells = figure.subplots(rows, 4, squeeze=False, width_ratios=(1, 1.15, 1, 1.15)).reshape(-1, 2)
        for left, right in cells[len(shown) :]:
            left.remove()
            right.remove()
        for (left, right), face in zip(cells, shown, strict=False):
            show_image(left, face.image)
            left.set_title(face.title, fontsize=7.5)
            good = face.guess == face.label
            colours = [theme.grid] * len(_NAMES)
            colours[face.guess] = theme.first if good else theme.second
            if not good:
                colours[face.label] = theme.first
            places = np.arange(len(_NAMES))
            right.barh(places, face.probabilities, color=colours, height=0.75)
            right.set_yticks(places, _NAMES, fontsize=7)
            right.set_xlim(0, 1)
            right.set_xticks([])
            right.invert_yaxis()
            right.tick_params(length=0)
            right.spines["bottom"].set_visible(False)
        return figure

    caption = "Blue: the label; orange: what it was taken for. Bars are calibrated probabilities, 0 to 1."
    return Plot(name, title, caption, draw, wide=True)


def _shown(split: Split, probabilities: Floats, k: int) -> Shown:
    return Shown(split.images[k], int(split.labels[k]), probabilities[k], int(split.rows[k]))
