"""The tables of the pages in docs/, for tests that hold them to the code."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def tables(page: str) -> list[list[list[str]]]:
    """Return a page's tables as rows of cells, the header first."""
    found: list[list[list[str]]] = [[]]
    for line in (DOCS / page).read_text("utf-8").splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if table]


def table(page: str, *header: str) -> list[list[str]]:
    """Return the rows of the one table whose header begins so."""
    (found,) = [rows for first, *rows in tables(page) if tuple(first[: len(header)]) == header]
    return found
