"""A backend out of nothing but a weights file: its sidecar names the network and what it is called with.

Only networks that a registered recipe names are ever imported: a sidecar is data, and data chooses no code.
"""

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from affect.errors import CheckpointError
from affect.inference.checkpoint import Sidecar, load_sidecar, sidecar_path
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend


def backend_from_weights(weights: Path, device: Device, architectures: Collection[str]) -> TorchBackend:
    """Serve a weights file.

    Args:
        weights: A `.safetensors` file with its sidecar beside it.
        device: Where it runs.
        architectures: `module:Class` of the networks that may be built, those of the registered recipes.

    Raises:
        CheckpointError: The file or its sidecar is missing or damaged, is no safetensors file, names a network that
            no recipe has, or does not fit the one it names.
    """
    if (weights / "run.json").is_file():
        raise CheckpointError(f"{weights}: the folder of a run; `affect-train export` makes weights of its best epoch")
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such weights file")
    if weights.suffix != ".safetensors":
        raise CheckpointError(
            f"{weights}: weights are a .safetensors file with its sidecar beside it, as `affect-train export` "
            "writes them; pickles are never loaded"
        )
    sidecar = load_sidecar(weights)
    if sidecar.architecture not in architectures:
        known = ", ".join(sorted(set(architectures))) or "none; is the plugin with its recipe installed?"
        raise CheckpointError(
            f"{sidecar_path(weights)}: architecture {sidecar.architecture!r} is that of no registered recipe; "
            f"known: {known}"
        )
    arguments = arguments_of(sidecar)

    def build() -> nn.Module:
        try:
            return build_network(sidecar.architecture, arguments)
        except (TypeError, ValueError) as exc:
            raise CheckpointError(
                f"{sidecar_path(weights)}: {sidecar.architecture} cannot be built with {dict(arguments)}: {exc}"
            ) from exc

    return TorchBackend(build, weights, device)


def arguments_of(sidecar: Sidecar) -> Mapping[str, Any]:
    """Return what the sidecar's network is called with; older sidecars say it in their run's configuration."""
    if "arguments" in sidecar.model_fields_set:
        return sidecar.arguments
    config = sidecar.training.get("config", {})
    model = config.get("model", {}) if isinstance(config, dict) else {}
    return model if isinstance(model, dict) else {}


def build_network(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Import `module:Class` and call it. The caller has made sure that a registered recipe names it.

    Raises:
        CheckpointError: There is no such class, or it is no torch module.
        TypeError: It does not take these arguments.
    """
    module, _, name = architecture.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise CheckpointError(f"architecture {architecture!r} cannot be imported: {exc}") from exc
    network = made(**arguments)
    if not isinstance(network, nn.Module):
        raise CheckpointError(f"architecture {architecture!r} makes a {type(network).__name__}, no torch module")
    return network
