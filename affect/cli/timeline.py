"""The timeline plot of `affect analyze`: emotions, learner states with their events, valence and arousal."""

from array import array
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affect.cloudevents import EventData
from affect.labels import EMOTIONS, STATES

# Okabe & Ito's palette, safe for colour-blind readers; one colour and dash a line.
_COLOURS = ("#000000", "#0072b2", "#e69f00", "#d55e00", "#56b4e9", "#009e73", "#cc79a7")
_DASHES = ("-", "-", "-", "-", "--", "--", "--")
_COLUMNS = 1 + len(EMOTIONS) + len(STATES) + 2
_MOST_POINTS = 4000


class Timeline:
    """The numbers of a whole file that the plot needs: t, emotions, states, valence, arousal of each frame."""

    def __init__(self) -> None:
        self._values = array("f")

    def add(self, line: dict[str, Any]) -> None:
        """Take one line of `NAME.observations.jsonl`."""
        p, states = line["emotions"] or {}, line["states"] or {}
        row = [line["t"], *(p.get(e.value) for e in EMOTIONS), *(states.get(s.value) for s in STATES)]
        self._values.extend(nan if v is None else v for v in (*row, line["valence"], line["arousal"]))

    def table(self) -> NDArray[np.float32]:
        """Return [n, 17], thinned to a few thousand frames."""
        whole = np.frombuffer(self._values, np.float32).reshape(-1, _COLUMNS)
        return whole[:: max(1, len(whole) // _MOST_POINTS)]


def plot_timeline(base: Path, timeline: Timeline, events: Sequence[EventData]) -> None:
    """Write `BASE.timeline.png` and `.svg`.

    Args:
        base: Path without the ending.
        timeline: All frames.
        events: Data of the file's events.
    """
    # The object interface with the Agg canvas: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = timeline.table()
    t = table[:, 0]
    emotions, states = table[:, 1 : 1 + len(EMOTIONS)], table[:, 1 + len(EMOTIONS) : -2]
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    _lines(top, t, emotions, [e.value for e in EMOTIONS])
    top.set_title("Emotions of the face (calibrated probabilities)", loc="left", fontsize=10)
    _lines(middle, t, states, [s.value for s in STATES])
    middle.set_title("Learner states (belief); bars: events from onset to offset", loc="left", fontsize=10)
    _bars(middle, events, float(t[-1]) if len(t) else 0.0)
    for column, name, style in ((-2, "valence", "-"), (-1, "arousal", "--")):
        bottom.plot(t, table[:, column], style, label=name, lw=1.3)
    bottom.axhline(0, color="0.7", lw=0.8)
    bottom.set_ylim(-1, 1)
    bottom.set_title("Valence and arousal (smoothed)", loc="left", fontsize=10)
    bottom.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    bottom.set_xlabel("seconds")
    figure.savefig(f"{base}.timeline.png", dpi=110)
    figure.savefig(f"{base}.timeline.svg", metadata={"Date": None})


def _lines(axes: Any, t: NDArray[np.float32], table: NDArray[np.float32], names: list[str]) -> None:
    for k, (name, colour, dash) in enumerate(zip(names, _COLOURS, _DASHES, strict=True)):
        axes.plot(t, table[:, k], dash, color=colour, label=name, lw=1.3)
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _bars(axes: Any, events: Sequence[EventData], end: float) -> None:
    colours = dict(zip((s.value for s in STATES), _COLOURS, strict=True))
    opened: dict[str, float] = {}
    for event in events:
        if event.phase == "onset":
            opened[event.state] = event.t
        elif event.phase == "offset" and event.state in opened:
            axes.axvspan(opened.pop(event.state), event.t, color=colours[event.state], alpha=0.15)
    for state, start in opened.items():
        axes.axvspan(start, end, color=colours[state], alpha=0.15)
