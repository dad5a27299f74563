"""`affect doctor`: can this machine run it, with what, and where does every setting come from."""

import json
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from affect.errors import AffectError
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.load import Loaded, leaves
from affect.version import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "opencv-python-headless",
    "numpy",
    "pydantic",
    "websockets",
    "facenet-pytorch",
)


def run(loaded: Loaded, *, as_json: bool, everything: bool) -> int:
    """Print the report; returns 0, or 1 when something is wrong."""
    host = PluginHost(loaded.settings.plugins)
    report: dict[str, Any] = {
        "versions": {
            "tutor-affect": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "device": _device(loaded.settings),
        "plugins": {s.name: s.status if not s.reason else f"{s.status}: {s.reason}" for s in host.plugins},
        "weights": _weights(host),
        "check": _check(loaded.settings, host),
        "settings": _settings(loaded, host, everything=everything),
    }
    if as_json:
        click.echo(json.dumps(report, indent=2, default=str))
    else:
        _print(report)
    wrong = [
        *(s.name for s in host.plugins if s.status == "failed"),
        *(name for name, result in report["check"].items() if not str(result).startswith("ok")),
    ]
    return 1 if wrong else 0


def _device(settings: Settings) -> dict[str, Any]:
    import torch

    from affect.inference.device import Device, cpu_features

    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "cpu": {name: "yes" if there else "no" for name, there in cpu_features().items()},
        "cuda": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] or "none",
    }
    try:
        facts["chosen"] = Device(settings.inference.device, settings.inference.precision).description
    except AffectError as exc:
        facts["chosen"] = exc.message
    return facts


def _weights(host: PluginHost) -> dict[str, Any]:
    from affect.inference.checkpoint import load_sidecar

    facts: dict[str, Any] = {}
    for spec in host.backends:
        if spec.weights is None:
            facts[spec.name] = "none of its own"
            continue
        try:
            sidecar = load_sidecar(spec.weights)
        except AffectError as exc:
            facts[spec.name] = exc.message
            continue
        accuracy = sidecar.metrics.get("accuracy")
        figure = ""
        if accuracy is not None:
            low, high = accuracy.ci95 or (accuracy.value, accuracy.value)
            figure = f", {accuracy.split} accuracy {accuracy.value:.3f} (95 % {low:.3f}-{high:.3f}, n={accuracy.n})"
        facts[spec.name] = (
            f"{spec.weights.name}, {spec.weights.stat().st_size / 1e6:.1f} MB, {sidecar.parameters:,} parameters"
            f"{figure}, temperature {sidecar.temperature}"
        )
    return facts


def _check(settings: Settings, host: PluginHost) -> dict[str, str]:
    """Really run what is configured, on one noise frame."""
    import numpy as np

    from affect.module import SyncAffectModule

    try:
        with SyncAffectModule(settings, session="doctor", host=host) as module:
            noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
            observation, _ = module.push(noise, 0.0)
    except AffectError as exc:
        return {"pipeline": f"{exc.message} [{exc.code}]"}
    return {"pipeline": f"ok, one noise frame went through ({len(observation.frame.faces)} faces)"}


def _settings(loaded: Loaded, host: PluginHost, *, everything: bool) -> list[dict[str, str]]:
    rows = []
    for key, value, source in leaves(loaded.settings):
        rows.append(_row(key, value, source, loaded.origin(key)))
    for spec in (*host.backends, *host.detectors, *host.estimators, *host.sinks):
        try:
            model = host.settings_of(spec)
        except AffectError as exc:
            rows.append(_row(f"plugins.{spec.name}", exc.message, "", loaded.origin(f"plugins.{spec.name}")))
            continue
        for key, value, source in leaves(model, f"plugins.{spec.name}."):
            rows.append(_row(key, value, source, loaded.origin(key)))
    return rows if everything else [row for row in rows if row["origin"] != "default"]


def _row(key: str, value: Any, source: str, origin: str) -> dict[str, str]:
    return {"key": key, "value": _short(value), "origin": origin, "source": source}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    return str(value)


def _print(report: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    for title in ("versions", "device", "plugins", "weights", "check"):
        table = Table(title=title, title_justify="left", show_header=False)
        for key, value in report[title].items():
            table.add_row(str(key), _short(value))
        console.print(table)
    rows = report["settings"]
    if not rows:
        console.print("settings: all at their defaults (`affect doctor --all` shows them)")
        return
    table = Table("setting", "value", "set by", "source of the default", title="settings", title_justify="left")
    for row in rows:
        table.add_row(row["key"], row["value"], row["origin"], row["source"])
    console.print(table)
