import re
from pathlib import Path

from affect_training.report.page import Bar, Example, Section, Table, Tile, facts_table, markdown_html, write_page
from affect_training.report.style import Plot, Theme, new_figure
from matplotlib.figure import Figure


def empty(theme: Theme) -> Figure:
    return new_figure(1, 1)


EVIL = "<script>alert(1)</script>"


def test_the_page_is_one_file_without_scripts_or_links_out_of_it(tmp_path: Path) -> None:
    sections = [
        Section(
            "First part", "Words.", plots=(Plot("a", "A", "caption", empty),), markdown="# Card\n\n[x](http://x.y)"
        ),
        Section("Second", tables=(Table("T", ("name", "value"), (("a", "1"),)),)),
    ]
    write_page(tmp_path / "page.html", "Title", "note", sections, [Tile("Accuracy", "64 %", "n=3")])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "<script" not in text
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', text))
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|srcset)="([^"]*)"', text))
    assert "url(" not in text
    assert re.findall(r'href="(#[^"]*)"', text) == ["#first-part", "#second"]
    assert 'id="first-part"' in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert '<th scope="row">a</th><td class="number">1</td>' in text


def test_everything_foreign_is_escaped(tmp_path: Path) -> None:
    bars = (Bar(EVIL, 0.5, label=True, guess=True),)
    section = Section(
        EVIL,
        EVIL,
        plots=(Plot("a", EVIL, f'"{EVIL}', empty),),
        examples=(Example("data:image/png;base64,", EVIL, True, bars),),
        tables=(Table(EVIL, (EVIL, "b"), ((EVIL, EVIL),)),),
        markdown=f"{EVIL}\n\n| a |\n|---|\n| {EVIL} |",
    )
    write_page(tmp_path / "page.html", EVIL, EVIL, [section, section], [Tile(EVIL, EVIL, EVIL)])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert 'alt="&lt;script&gt;alert(1)&lt;/script&gt;. &#34;&lt;script' in text


def test_bars_have_the_length_of_their_share_and_say_what_they_are(tmp_path: Path) -> None:
    bars = (Bar("sad", 0.25, label=True, guess=False), Bar("fear", 0.75, label=False, guess=True))
    write_page(tmp_path / "p.html", "t", "", [Section("S", examples=(Example("data:,", "sad", False, bars),))])
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert 'class="example wrong"' in text
    assert re.findall(r'<li class="(\w*) (\w*)">.*?--p:([\d.]+)', text) == [
        ("label", "", "0.2500"),
        ("", "guess", "0.7500"),
    ]


def test_markdown_has_tables_but_no_html_and_no_links() -> None:
    found = markdown_html("## T\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[x](javascript:alert) <b>bold</b> `code`")
    assert "<td>2</td>" in found
    assert "<code>code</code>" in found
    assert "<a" not in found
    assert "<b>" not in found


def test_facts_are_texts() -> None:
    assert facts_table("T", {"a": 1, "b": None}).rows == (("a", "1"), ("b", "None"))
