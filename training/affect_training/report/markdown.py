"""Markdown of cards: tables, figures with intervals, values in words."""

from collections.abc import Iterable, Mapping, Sequence

from affect.inference.checkpoint import Metric


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table; cells may hold anything on one line."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
        lines.append("| " + " | ".join(cells + [""] * (len(head) - len(cells))) + " |")
    return lines


def value_of(metric: Metric | None) -> str:
    """Write a figure with its interval; nothing for none."""
    if metric is None:
        return ""
    return f"{metric.value:.4f}" + (f" ({interval(metric.ci95)})" if metric.ci95 else "")


def interval(ci95: tuple[float, float] | None) -> str:
    """Write an interval; nothing for none."""
    return f"{ci95[0]:.3f}-{ci95[1]:.3f}" if ci95 else ""


def mapping(value: object) -> Mapping[str, object]:
    """Return a mapping as it is, anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def plain(value: object) -> str:
    """Write numbers, lists and nested values in words."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def sentence(text: str) -> str:
    """End a text with a full stop."""
    return text if text.endswith(".") else f"{text}."
