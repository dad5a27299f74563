from pathlib import Path

import matplotlib
from affect_training.report.style import DARK, LIGHT, Plot, Theme, contrast, ink_on, new_figure
from matplotlib.figure import Figure


def draw(theme: Theme) -> Figure:
    figure = new_figure(2, 1)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=theme.first)
    axes.set_title("line")
    return figure


def test_a_plot_is_saved_twice_and_the_same_every_time(tmp_path: Path) -> None:
    png, svg = Plot("a.b", "A", "a line", draw).save(tmp_path)
    assert (png.name, svg.name) == ("a.b.png", "a.b.svg")
    again = Plot("a.b", "A", "a line", draw).save(tmp_path / "again")
    assert [path.read_bytes() for path in (png, svg)] == [path.read_bytes() for path in again]


def test_dark_paper_is_dark(tmp_path: Path) -> None:
    import base64

    plot = Plot("a", "A", "a line", draw)
    plot.save(tmp_path)
    for theme, other in ((LIGHT, DARK), (DARK, LIGHT)):
        kind, _, data = plot.inline(theme).partition(",")
        text = base64.b64decode(data).decode()
        assert kind == "data:image/svg+xml;base64"
        assert theme.first in text
        assert other.first not in text
        assert theme.paper in text


def test_drawing_changes_no_global_setting(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    Plot("a", "A", "a line", draw).save(tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_numbers_can_be_read_on_every_shade() -> None:
    for theme in (LIGHT, DARK):
        for share in (k / 20 for k in range(21)):
            assert contrast(ink_on(theme, share), theme.ramp()(share)) > 4.5
        assert contrast(theme.ink, theme.paper) > 7
        assert contrast(theme.muted, theme.paper) > 4.5
        assert min(contrast(colour, theme.paper) for colour in (theme.first, theme.second, theme.third)) > 3
