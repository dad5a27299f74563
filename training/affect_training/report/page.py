"""One self-contained HTML page: sections of plots, tables, examples and text; no script, no outside link.

Every picture is a data URI, plots twice: for light and for dark paper. Everything that is not ours to trust (names,
captions, data) is escaped by the template; Markdown is rendered with HTML switched off.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from affect_training.report.style import DARK, LIGHT, Plot


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline figure: what it is, its value, and a word on it (interval, sample)."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; the first column holds the names of the rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A probability 0-1 beside an example; `label` marks the truth, `guess` the largest."""

    name: str
    share: float
    label: bool
    guess: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A face as a data URI with its probabilities."""

    face: str
    title: str
    right: bool
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    title: str
    intro: str = ""
    plots: tuple[Plot, ...] = ()
    examples: tuple[Example, ...] = ()
    tables: tuple[Table, ...] = ()
    markdown: str = ""

    @property
    def anchor(self) -> str:
        """Return the name of the section in the page's address."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def write_page(path: Path, title: str, note: str, sections: Sequence[Section], tiles: Sequence[Tile] = ()) -> None:
    """Write a page.

    Args:
        path: The file; its folder must be there.
        title: Heading.
        note: A sentence below it.
        sections: In order.
        tiles: Headline figures below the note.
    """
    environment = Environment(
        loader=PackageLoader("affect_training.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = markdown_html
    environment.globals["themes"] = {"light": LIGHT, "dark": DARK}
    text = environment.get_template("page.html").render(
        title=title, note=note, sections=sections, tiles=tiles, light=LIGHT, dark=DARK
    )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def markdown_html(text: str) -> Markup:
    """Render Markdown with tables; HTML in it is shown, not obeyed, and links become plain text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"])
    return Markup(parser.render(text))


def facts_table(title: str, facts: Mapping[str, object]) -> Table:
    """Make a table of names and values."""
    return Table(title, (), tuple((name, str(value)) for name, value in facts.items()))
