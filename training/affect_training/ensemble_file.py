"""What was found as a configuration that the service loads: a manifest of the backend `ensemble`.

affect serve --backend FILE.json
affect --config FILE.toml serve
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import BackendError, SettingsError
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.plugins import PluginHost
from affect.settings.root import weights_path
from affect.types import ByteArray
from affect_training.ensemble import Ensemble, Figures
from affect_training.evaluation.metrics import Floats
from affect_training.teachers import Answers

TOLERANCE = 0.05
"""Largest difference of a probability between search and service: batches of another size round otherwise."""

FEW = 0.05
"""Share of the faces that may differ by more."""


def manifest_path(path: Path) -> Path:
    """Return where the manifest goes when the output is named `FILE.json` or `FILE.toml`.

    Raises:
        SettingsError: Neither ending.
    """
    if path.suffix not in (".json", ".toml"):
        raise SettingsError(f"{path}: an ensemble is written as .json, or .toml with the .json beside it")
    return path.with_suffix(".json")


def write_manifest(
    path: Path,
    found: Ensemble,
    members: Sequence[Answers],
    *,
    mirror: bool,
    selection: dict[str, Any],
    check: Callable[[Path], float],
) -> float:
    """Write what was found, once it has been seen to work; what was there before is intact until then.

    Args:
        path: `.json`: the manifest. `.toml`: settings of the service, with the manifest beside it.
        found: The ensemble.
        members: What it was found among, in the order they were given.
        mirror: Whether each face was judged with its mirror image.
        selection: Facts for the reader: the data's sha256, seed, draws.
        check: Gets the manifest under another name in its folder; what it raises keeps the manifest from being written.

    Returns:
        What `check` returned.

    Raises:
        SettingsError: Neither ending, or it cannot be written.
    """
    manifest = manifest_path(path)
    # The gain is that of searched weights; an equal vote has none.
    gain = {"gain": asdict(found.gain)} if found.gain is not None and found.vote == "weighted" else {}
    content = {
        "format": 1,
        "vote": found.vote,
        "mirror": mirror,
        "members": [
            {
                **_reference(members[k].name, manifest.parent),
                "weight": round(weight, 6),
                "temperature": round(figures.temperature, 4),
                "weights_sha256": members[k].weights_sha256,
                "calibration": members[k].calibration,
                "metrics": _metrics(figures),
            }
            for k, weight, figures in zip(found.order, found.weights, found.prefixes, strict=True)
        ],
        "metrics": _metrics(found.prefixes[-1]),
        "selection": {**selection, **gain},
    }
    partial = manifest.with_name(f"{manifest.name}.partial")
    try:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        result = check(partial)
        partial.replace(manifest)
        if path.suffix == ".toml":
            where = json.dumps(str(manifest.resolve()), ensure_ascii=False)
            text = f'[inference]\nbackend = "ensemble"\n\n[plugins.ensemble]\nmanifest = {where}\n'
            path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
    finally:
        partial.unlink(missing_ok=True)
    return result


def check_manifest(manifest: Path, expected: Floats, images: ByteArray, device: Device, host: PluginHost) -> float:
    """Load a manifest as the service does, and compare its answers with those of the search.

    Args:
        manifest: The file.
        expected: Probabilities [N, 7] of the vote at the manifest's temperature.
        images: uint8 [N, 48, 48], the same faces.
        device: Where it runs.
        host: The plugins the members come from; their other settings hold.

    Returns:
        The largest difference of a face's probabilities.

    Raises:
        BackendError: It answers something else.
        AffectError: It cannot be loaded, because its members want different crops, for one.
    """
    backend = host.configured("ensemble", {"manifest": str(manifest)}).create_backend("ensemble", device)
    try:
        served = FaceClassifier(backend, device).probabilities(list(images))
    finally:
        backend.close()
    gaps = np.abs(served - expected).max(axis=1)
    # One face may differ by a whole voice, when a member's first two choices are nearly equal; many may not.
    others = int((gaps > TOLERANCE).sum())
    if others > FEW * len(gaps):
        raise BackendError(
            f"served, the ensemble answers otherwise than when it was found: {others} of {len(gaps)} faces differ by "
            f"more than {TOLERANCE} (largest {gaps.max():.3f}); not written"
        )
    return float(gaps.max(initial=0.0))


def _reference(name: str, folder: Path) -> dict[str, str]:
    path = weights_path(name)
    if path is None:
        return {"backend": name}
    return {"file": Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()}


def _metrics(figures: Figures) -> dict[str, Any]:
    facts = {"split": "PublicTest", "n": figures.n}
    return {
        "accuracy": {"value": round(figures.accuracy, 5), "ci95": figures.accuracy_ci95, **facts},
        "macro_f1": {"value": round(figures.macro_f1, 5), **facts},
        "macro_recall": {"value": round(figures.macro_recall, 5), **facts},
        "nll": {"value": round(figures.nll, 5), **facts},
        "ece": {"value": round(figures.ece, 5), **facts},
    }
