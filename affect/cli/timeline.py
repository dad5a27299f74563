"""The timeline plot of `affect analyze`: emotions, learner states with their events, valence and arousal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affect.cloudevents import EventData
from affect.labels import EMOTIONS, STATES

# Okabe & Ito's palette, safe for colour-blind readers; one colour and dash a line.
_COLOURS = ("#000000", "#0072b2", "#e69f00", "#d55e00", "#56b4e9", "#009e73", "#cc79a7")
_DASHES = ("-", "-", "-", "-", "--", "--", "--")


def plot_timeline(base: Path, observations: Sequence[dict[str, Any]], events: Sequence[EventData]) -> None:
    """Write `BASE.timeline.png` and `.svg`.

    Args:
        base: Path without the ending.
        observations: Lines of `NAME.observations.jsonl`.
        events: Data of the file's events.
    """
    # The object interface with the Agg canvas: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    t = np.array([line["t"] for line in observations], float)
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    _lines(top, t, observations, "emotions", [e.value for e in EMOTIONS])
    top.set_title("Emotions of the face (calibrated probabilities)", loc="left", fontsize=10)
    _lines(middle, t, observations, "states", [s.value for s in STATES])
    middle.set_title("Learner states (belief); bars: events from onset to offset", loc="left", fontsize=10)
    _bars(middle, events, float(t[-1]) if len(t) else 0.0)
    for name, style in (("valence", "-"), ("arousal", "--")):
        bottom.plot(t, _series(observations, lambda line, name=name: line[name]), style, label=name, lw=1.3)
    bottom.axhline(0, color="0.7", lw=0.8)
    bottom.set_ylim(-1, 1)
    bottom.set_title("Valence and arousal (smoothed)", loc="left", fontsize=10)
    bottom.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    bottom.set_xlabel("seconds")
    figure.savefig(f"{base}.timeline.png", dpi=110)
    figure.savefig(f"{base}.timeline.svg", metadata={"Date": None})


def _series(observations: Sequence[dict[str, Any]], get: Any) -> np.ndarray:
    values = (get(line) for line in observations)
    return np.array([np.nan if value is None else value for value in values], float)


def _lines(axes: Any, t: Any, observations: Sequence[dict[str, Any]], key: str, names: list[str]) -> None:
    for name, colour, dash in zip(names, _COLOURS, _DASHES, strict=True):
        series = _series(observations, lambda line, name=name: (line[key] or {}).get(name))
        axes.plot(t, series, dash, color=colour, label=name, lw=1.3)
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
