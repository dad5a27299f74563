"""`affect doctor`: can this machine run it, with what, and where does every setting come from."""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from affect.errors import AffectError
from affect.labels import EMOTIONS
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.fit import StateFigures
from affect.settings.load import Loaded, leaves
from affect.settings.root import weights_path
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
            **{name: _version(name) for name in _PACKAGES},
        },
        "device": _device(loaded.settings),
        "plugins": {s.name: s.status if not s.reason else f"{s.status}: {s.reason}" for s in host.plugins},
        "strays": {str(k): stray for k, stray in enumerate(host.strays(), start=1)},
        "weights": _weights(host, loaded.settings.inference.backend),
        "learner": _learner(loaded.settings, host),
        "check": _check(loaded.settings, host),
        "settings": _settings(loaded, host, everything=everything),
    }
    if as_json:
        click.echo(json.dumps(report, indent=2, default=str))
    else:
        _print(report)
    wrong = [
        *(s.name for s in host.plugins if s.status == "failed"),
        *report["strays"].values(),
        *(name for name, result in report["check"].items() if not str(result).startswith("ok")),
    ]
    return 1 if wrong else 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _device(settings: Settings) -> dict[str, Any]:

    from affect.inference.device import Device, cpu_features

    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "cpu": {name: "yes" if there else "no" for name, there in cpu_features().items()},
        "cuda": _gpus() or "none",
    }
    try:
        facts["chosen"] = Device(settings.inference.device, settings.inference.precision).description
    except AffectError as exc:
        facts["chosen"] = exc.message
    return facts


def _gpus() -> list[str]:
    """Name the GPUs that the driver tells of, and say of those that cannot be used why."""
    import torch

    from affect.inference.device import why_unusable

    found = []
    for number in range(torch.cuda.device_count()):  # asks the driver; torch itself may not be able to use them
        reason = why_unusable(f"cuda:{number}")
        found.append(f"cuda:{number} cannot be used: {reason}" if reason else torch.cuda.get_device_name(number))
    return found


def _weights(host: PluginHost, configured: str) -> dict[str, Any]:
    """Weights of every registered backend, and of the configured one when it is a file."""
    from affect.inference.checkpoint import load_sidecar

    facts: dict[str, Any] = {}
    names = [spec.name for spec in host.backends] + ([configured] if weights_path(configured) is not None else [])
    for name in names:
        try:
            weights = host.weights_of(name)
            if weights is None:
                facts[name] = "none of its own"
                continue
            sidecar, size = load_sidecar(weights), weights.stat().st_size
        except (AffectError, OSError) as exc:
            facts[name] = exc.message if isinstance(exc, AffectError) else str(exc)
            continue
        accuracy = sidecar.metrics.get("accuracy")
        figure = ""
        if accuracy is not None:
            low, high = accuracy.ci95 or (accuracy.value, accuracy.value)
            figure = f", {accuracy.split} accuracy {accuracy.value:.3f} (95 % {low:.3f}-{high:.3f}, n={accuracy.n})"
        facts[name] = (
            f"{weights.name}, {size / 1e6:.1f} MB, {sidecar.parameters:,} parameters"
            f"{figure}, temperature {sidecar.temperature}, power {sidecar.power}, sha256 {sidecar.weights_sha256[:12]}"
        )
    return facts


_SHOWN = ("heads", "emission refitted", "emission of the design")
"""Figures of a fit that are told, of those that its document has."""


def _learner(settings: Settings, host: PluginHost) -> dict[str, str]:
    """What was fitted on people for the configured backend, and how well it does."""
    from affect.fits import backend_fit, reads_faces

    facts = {"estimator": settings.learner.estimator}
    try:
        fit, reads = backend_fit(settings, host), reads_faces(settings, host)
    except AffectError as exc:
        return {**facts, "fit": exc.message}
    if fit is None:
        return {**facts, "fit": "none for this backend: its emission matrix is the design's"}
    known = fit.facts
    facts["fit"] = f"{settings.learner.fit or 'in the sidecar'}: {known.data} ({known.data_sha256[:12]})"
    rows = [f"{state.value:11} {'  '.join(f'{p:.2f}' for p in row)}" for state, row in known.emission.items()]
    facts["emission"] = "\n".join([f"{' '.join(e.value for e in EMOTIONS)}", *rows])
    facts["its prior"] = f"the design's rows count as {known.emission_prior:g} faces"
    if known.heads is not None:
        what = f"embedding of {known.heads.embedding} and " if known.heads.embedding else ""
        facts["heads"] = (
            f"{', '.join(known.heads.states)} from {what}{len(known.heads.readings)} readings, "
            f"{'in use' if reads else f'not read by estimator {settings.learner.estimator}'}"
        )
    facts |= {f"AUC, {name}": _aucs(found) for name, found in known.figures.items() if name in _SHOWN}
    return facts


def _aucs(found: StateFigures) -> str:
    """Pooled AUC with its interval and within-person AUC, a state after the other."""
    parts = []
    for state, value in found.auc.items():
        ci95, inside = found.auc_ci95[state], found.auc_within_person[state]
        if value is not None and ci95 is not None and inside is not None:
            parts.append(f"{state.value} {value:.2f} ({ci95[0]:.2f}-{ci95[1]:.2f}), within person {inside:.2f}")
    return "\n".join(parts)


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
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False)
    for title in ("versions", "device", "plugins", "strays", "weights", "learner", "check"):
        if not report[title]:
            continue
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
