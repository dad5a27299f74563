"""What a study leaves for reading: values of a run file, the plot of what the score depends on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plot_shares(shares: Mapping[str, float], path: Path, title: str) -> None:
    """Write a bar for each setting's share of the variance, the largest on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1.2 + 0.35 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color="#3b6ea5")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlim=(0, 1.1), xlabel="share of the variance (fANOVA)", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def as_toml(value: Any) -> str:
    """Write a value of a run file; strings, numbers, booleans and lists are written alike in JSON and TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
