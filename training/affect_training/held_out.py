"""Nobody is judged on faces it was trained on: the share that a run held out is known to its weights."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from affect.errors import PluginError, SettingsError
from affect.inference.checkpoint import load_sidecar, sidecar_path
from affect.plugins import PluginHost
from affect_training.data.faces import SPLITS


def check_holdout(
    names: Sequence[str], host: PluginHost, data_sha256: str, holdout: float, split_name: str = SPLITS[1]
) -> None:
    """See that nobody was trained on faces that it is now to be judged on, or that it is to teach the judging of.

    Args:
        names: Backends, weights files, or manifests of ensembles, whose members are asked; those without a run in
            their sidecar are believed.
        host: The plugins.
        data_sha256: Of the data at hand.
        holdout: Share of its Training that stands for PublicTest.
        split_name: Judged on; nothing is held out of, or for, PrivateTest.

    Raises:
        SettingsError: One held out another share of the same data; names it.
    """
    if split_name == SPLITS[2]:
        return
    for name, weights in _weights(names, host):
        facts = load_sidecar(weights).training
        theirs = facts.get("config", {}).get("data", {}).get("holdout", 0.0)
        if facts.get("data_sha256") == data_sha256 and theirs != holdout:
            raise SettingsError(
                f"{name} was trained with data.holdout={theirs:g}, not {holdout:g}: it knows faces that are held out "
                f"here; say {theirs:g} here too (--holdout, or --set data.holdout)"
            )


def _weights(names: Sequence[str], host: PluginHost) -> Iterator[tuple[str, Path]]:
    """Yield each name's weights files that have a sidecar; what cannot be read is left to whoever loads it."""
    for name in names:
        path = Path(name)
        if path.suffix == ".json" and path.is_file():
            yield from _weights(_members(path), host)
            continue
        try:
            weights = host.weights_of(name)
        except PluginError:
            continue
        if weights is not None and sidecar_path(weights).is_file():
            yield name, weights


def _members(manifest: Path) -> list[str]:
    try:
        members = json.loads(manifest.read_text(encoding="utf-8"))["members"]
        return [str(manifest.parent / m["file"]) if "file" in m else str(m["backend"]) for m in members]
    except (OSError, ValueError, KeyError, TypeError):
        return []
