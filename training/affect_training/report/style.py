"""How plots look: one palette that colour-blind readers can tell apart, on light and on dark paper.

A plot is drawn by a function of a theme. It is saved as PNG and SVG on light paper, and goes into a page as two SVG
data URIs, of which the reader's setting picks one. No global state of matplotlib changes, and no display is needed.
"""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from affect.types import ByteArray


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one kind of paper.

    Blue and orange are Okabe & Ito's (2008), made lighter on dark paper; `first` and `second` differ in brightness
    too, so that they can be told apart in grey.
    """

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    third: str

    def ramp(self) -> Colormap:
        """Return the map from nothing (paper) to much (the first colour), for counts and shares."""
        return LinearSegmentedColormap.from_list("ramp", [self.paper, self.first])

    def diverging(self) -> Colormap:
        """Return the map from the second colour over paper to the first, for signed values."""
        return LinearSegmentedColormap.from_list("diverging", [self.second, self.paper, self.first])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make figures within the context in this theme."""
        with rc_context(
            {
                "font.family": "DejaVu Sans",
                "text.parse_math": False,  # names of groups and files may hold a $
                "font.size": 10,
                "figure.facecolor": self.paper,
                "savefig.facecolor": self.paper,
                "axes.facecolor": self.paper,
                "axes.edgecolor": self.muted,
                "axes.labelcolor": self.ink,
                "axes.grid": False,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "axes.titlesize": 10,
                "axes.titlecolor": self.ink,
                "axes.titlelocation": "left",
                "text.color": self.ink,
                "xtick.color": self.muted,
                "ytick.color": self.muted,
                "xtick.labelcolor": self.ink,
                "ytick.labelcolor": self.ink,
                "grid.color": self.grid,
                "grid.linewidth": 0.8,
                "legend.frameon": False,
                "legend.labelcolor": self.ink,
                "lines.linewidth": 1.8,
                "svg.fonttype": "path",
                "svg.hashsalt": "affect",
            }
        ):
            yield


LIGHT = Theme("light", "#ffffff", "#1d232b", "#6b7480", "#e3e7ec", "#0072b2", "#d55e00", "#8a9099")
DARK = Theme("dark", "#171b21", "#e6e9ed", "#98a2ae", "#2c333c", "#5cb3e6", "#f0924a", "#8a939e")

WIDTH = 4.8
"""Inches of a plot: its letters are still read where a telephone shows it at a third of that."""

_DPI = 160
"""Of PNG files, and of the pictures within SVG files."""

Colour = str | tuple[float, float, float, float]
Draw = Callable[[Theme], Figure]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with the words that go with it.

    Attributes:
        name: Of its files, without ending.
        title: Heading.
        caption: What is to be seen, in a sentence or two; also the text for readers who see no pictures.
        draw: Makes it on a kind of paper.
        wide: Whether it wants the whole width of a page.
    """

    name: str
    title: str
    caption: str
    draw: Draw
    wide: bool = False
    _svgs: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was drawn already, by theme."""

    def render(self, theme: Theme) -> Figure:
        """Draw it."""
        with theme.applied():
            return self.draw(theme)

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write `NAME.png` and `NAME.svg` on light paper; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        png, svg = folder / f"{self.name}.png", folder / f"{self.name}.svg"
        with LIGHT.applied():
            figure = self.draw(LIGHT)
            figure.savefig(png, dpi=_DPI, metadata={"Software": None})
            self._svgs[LIGHT.name] = _svg(figure)
        svg.write_bytes(self._svgs[LIGHT.name])
        return png, svg

    def inline(self, theme: Theme) -> str:
        """Return it as the data URI of an SVG."""
        if theme.name not in self._svgs:
            with theme.applied():
                self._svgs[theme.name] = _svg(self.draw(theme))
        return data_uri(self._svgs[theme.name], "image/svg+xml")


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=_DPI, metadata={"Date": None})
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches with the Agg canvas; axes arrange themselves."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def grid_lines(axes: Axes, axis: Any = "y") -> None:
    """Draw thin lines across the plot at the ticks of an axis: x, y or both."""
    axes.grid(True, axis=axis)
    axes.tick_params(length=0)


def show_image(axes: Axes, image: ByteArray) -> None:
    """Show a picture, grey [H, W] or RGB [H, W, 3], with its pixels as they are and no frame."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    bare(axes)


def bare(axes: Axes) -> None:
    """Take frame and ticks away, for pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def ink_on(theme: Theme, share: float) -> str:
    """Return black or white, whichever stands out more on a share 0-1 of the ramp."""
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, theme.ramp()(share)))


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, 1 to 21, as of WCAG 2; small text wants 4.5."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    """Relative luminance 0-1 of an sRGB colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def png_uri(image: ByteArray) -> str:
    """Return a picture, grey [H, W] or RGB [H, W, 3] uint8, as the data URI of a PNG."""
    bgr = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    good, encoded = cv2.imencode(".png", bgr)
    assert good
    return data_uri(encoded.tobytes(), "image/png")


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
