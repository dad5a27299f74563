"""Explanations as plots: sheets of filters and maps, maps laid over faces, dreamt faces."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure

from affect.labels import EMOTIONS
from affect.types import ByteArray, FloatArray
from affect_training.explain.attribution import Attribution
from affect_training.explain.network import Call
from affect_training.report.style import WIDTH, Plot, Theme, new_figure, show_image

MOST_FILTERS, MOST_MAPS = 64, 12
_OVERLAY = 0.8
"""Share of the colour where a map is strongest; the face stays visible below it."""


def filter_sheet(name: str, layer: str, kernels: FloatArray) -> Plot:
    """Plot kernels [O, I, k, k] of the first convolution; three inputs as colours, others side by side."""
    count, inputs, high, wide = kernels.shape
    shown = kernels[:MOST_FILTERS]
    tiles = [_kernel_tile(kernel) for kernel in shown]
    columns = int(np.ceil(np.sqrt(len(tiles) * 2)))
    sheet = montage(tiles, columns)

    def draw(theme: Theme) -> Figure:
        figure = new_figure(6.4, 6.4 * sheet.shape[0] / sheet.shape[1] + 0.1)
        show_image(figure.subplots(), sheet)
        return figure

    kind = {1: "grey", 3: "colour"}.get(inputs, f"{inputs}-channel")
    caption = (
        f"{f'The first {len(shown)} of' if count > len(shown) else 'All'} {count} {kind} filters of {wide}x{high} in "
        f"{layer}, the first convolution of {name}. Mid-grey is zero; each filter has its own scale."
    )
    return Plot("filters", "First-layer filters", caption, draw, wide=True)


def activation_sheet(name: str, stages: Sequence[tuple[Call, Call]], file: str, layers: int | None = None) -> Plot:
    """Plot what the convolutions make of a face: a strip of maps a layer, those that vary most.

    Args:
        name: Of the face.
        stages: Each convolution, and what became of it.
        file: Start of the file's name.
        layers: How many of them, evenly from the first to the last; all by default.
    """
    found = len(stages)
    if layers is not None and layers < found:
        stages = [stages[k] for k in np.linspace(0, found - 1, layers).round().astype(int)]
    strips: list[tuple[str, ByteArray]] = []
    for convolution, became in stages:
        maps = became.output[0].float().cpu().numpy()
        order = np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:MOST_MAPS]
        tiles = [_stretched(maps[k]) for k in order]
        title = f"{convolution.name} → {became.kind}: {len(maps)} maps of {maps.shape[2]}x{maps.shape[1]}"
        strips.append((title, montage(tiles, MOST_MAPS)))

    def draw(theme: Theme) -> Figure:
        figure = new_figure(6.4, 0.8 * len(strips) + 0.1)
        rows = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
        for axes, (title, strip) in zip(rows, strips, strict=True):
            show_image(axes, strip)
            axes.set_title(title, fontsize=8)
        return figure

    caption = (
        f"What {f'{len(stages)} of' if len(stages) < found else 'all'} {found} convolutions of the network make of "
        f"{name}, after norm and activation. A strip holds the "
        f"{MOST_MAPS} maps of a layer that vary most, each stretched from black to white."
    )
    return Plot(f"{file}.activations", "Activation maps", caption, draw, wide=True)


def attribution_plot(
    kind: str, face: ByteArray, found: Attribution, probabilities: FloatArray, emotion: int, file: str
) -> Plot:
    """Plot a face beside itself with a map over it.

    Args:
        kind: `gradcam` or `occlusion`.
        face: uint8 RGB [S, S, 3].
        found: The map.
        probabilities: Of the face, [7].
        emotion: What is explained.
        file: Start of the file's name.
    """
    word = EMOTIONS[emotion].value
    signed = kind == "occlusion"
    top = max(float(np.abs(found.values).max()), 1e-6) if signed else 1.0

    def draw(theme: Theme) -> Figure:
        figure = new_figure(WIDTH, 2.5)
        left, right = figure.subplots(1, 2)
        show_image(left, face)
        best = int(probabilities.argmax())
        left.set_title(f"{EMOTIONS[best].value} {probabilities[best]:.2f}")
        show_image(right, overlay(face, found.values / top, theme))
        right.set_title(f"for {word} ({probabilities[emotion]:.2f})")
        scale = ScalarMappable(Normalize(-top if signed else 0, top), theme.diverging() if signed else theme.ramp())
        bar = figure.colorbar(scale, ax=right, shrink=0.8)
        bar.outline.set_visible(False)
        return figure

    if signed:
        title = "Occlusion"
        caption = (
            f"Blue: hiding this place takes so much from the probability of {word}; orange: hiding it adds. "
            f"Squares of about an eye's size, replaced by the face's mean grey."
        )
    else:
        title = "Grad-CAM"
        caption = f"The bluer, the more the maps of {found.layer} there speak for {word}; the strongest place is 1."
    return Plot(f"{file}.{kind}", title, caption, draw)


def dream_plot(
    start: ByteArray | None, dreamt: torch.Tensor, probabilities: FloatArray, seed: int, name: str, file: str
) -> Plot:
    """Plot the faces [7, C, S, S] dreamt for each emotion, after the one they started from.

    Args:
        start: uint8 RGB [S, S, 3], or None for noise.
        dreamt: As of `dream`.
        probabilities: Of each emotion in the picture dreamt for it, [7].
        seed: Of the dream.
        name: What to call the face.
        file: Start of the file's name.
    """
    from affect_training.explain.faces import as_rgb

    panels: list[tuple[str, ByteArray]] = [] if start is None else [("start", start)]
    panels += [
        (f"{e.value} {p:.2f}", as_rgb(picture)) for e, p, picture in zip(EMOTIONS, probabilities, dreamt, strict=True)
    ]

    def draw(theme: Theme) -> Figure:
        figure = new_figure(6.4, 3.65)
        cells = figure.subplots(2, 4).ravel()
        for cell in cells[len(panels) :]:
            cell.remove()
        for cell, (title, picture) in zip(cells, panels, strict=False):
            show_image(cell, picture)
            cell.set_title(title)
        return figure

    what = "grey with a little noise" if start is None else name
    caption = (
        f"Gradient ascent from {what} towards each emotion, with the probability reached (seed {seed}). It shows what "
        "this network responds to, not what the emotion looks like."
    )
    return Plot(f"{file}.deepdream" if file else "deepdream", "DeepDream", caption, draw, wide=True)


def overlay(face: ByteArray, values: FloatArray, theme: Theme) -> ByteArray:
    """Lay a map [S, S], -1..1, over a face: the first colour where positive, the second where negative."""
    positive, negative = (255 * np.asarray(to_rgb(colour)) for colour in (theme.first, theme.second))
    colour = np.where(values[..., None] >= 0, positive, negative)
    share = _OVERLAY * np.clip(np.abs(values), 0, 1)[..., None]
    return np.asarray((face * (1 - share) + colour * share).round(), np.uint8)


def montage(tiles: Sequence[ByteArray], columns: int) -> ByteArray:
    """Put tiles of one size, grey [h, w] or RGB [h, w, 3], in rows, each enlarged so that its pixels can be seen.

    Returns:
        RGBA [H, W, 4], transparent between the tiles.
    """
    high, wide = tiles[0].shape[:2]
    zoom = max(1, round(48 / max(high, wide)))
    gap = max(2, zoom // 2)
    rows = -(-len(tiles) // columns)
    high, wide = high * zoom, wide * zoom
    sheet = np.zeros((rows * (high + gap) - gap, columns * (wide + gap) - gap, 4), np.uint8)
    for k, tile in enumerate(tiles):
        y, x = k // columns * (high + gap), k % columns * (wide + gap)
        large = tile.repeat(zoom, axis=0).repeat(zoom, axis=1)
        sheet[y : y + high, x : x + wide, :3] = large[:, :, None] if large.ndim == 2 else large
        sheet[y : y + high, x : x + wide, 3] = 255
    return sheet


def _kernel_tile(kernel: FloatArray) -> ByteArray:
    """A kernel [I, k, k] as grey [k, k or I k] or colours [k, k, 3], zero in the middle."""
    scale = max(float(np.abs(kernel).max()), 1e-12)
    grey = np.asarray(np.clip(127.5 + 127.5 * kernel / scale, 0, 255), np.uint8)
    if len(grey) == 3:
        return np.ascontiguousarray(grey.transpose(1, 2, 0))
    return np.ascontiguousarray(np.concatenate(list(grey), axis=1))


def _stretched(values: FloatArray) -> ByteArray:
    low, high = float(values.min()), float(values.max())
    return np.asarray(255 * (values - low) / max(high - low, 1e-12), np.uint8)
