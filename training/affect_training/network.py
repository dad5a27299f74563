"""Networks by name: building, initial weights, and which part of them stays frozen."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from affect.errors import CheckpointError, SettingsError
from affect.inference.checkpoint import load_checkpoint, sidecar_path
from affect.inference.from_weights import build_network
from affect.registry import RecipeSpec
from affect_training.config import RunConfig

BACKBONE = "backbone"
"""Scheme of recipes whose backbone alone may be read from a file."""


def build_model(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Import `module:Class` and build it.

    Raises:
        SettingsError: The class does not take these arguments.
        CheckpointError: There is no such class.
    """
    try:
        return build_network(architecture, arguments)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise SettingsError(f"model of {architecture}: {exc}") from exc


def initialise(model: nn.Module, spec: RecipeSpec, init: str) -> None:
    """Give a network its starting weights, in place.

    Args:
        model: Fresh from `build_model`.
        spec: Its recipe, which knows the schemes.
        init: `none`; a safetensors file of the same architecture (a head of another shape keeps its fresh weights);
            `SCHEME` or `SCHEME:PLACE` with a scheme of the recipe; or, where `backbone` is one, its file.

    Raises:
        SettingsError: No such scheme, or a scheme that cannot be had here (a download without network).
        CheckpointError: The file is no safetensors file, fits nowhere, or differs from the sidecar beside it.
    """
    check_init(spec, init)
    scheme, _, place = init.partition(":")
    if init == "none":
        return
    if scheme not in spec.inits:
        if BACKBONE not in spec.inits or Path(init).suffix == ".safetensors":
            fitting, missing = _matched(model, _read(Path(init)))
            if not missing or BACKBONE not in spec.inits:
                _take(model, Path(init), fitting, missing)
                return
        scheme, place = BACKBONE, init
    module, _, name = spec.inits[scheme].partition(":")
    getattr(import_module(module), name)(model, place)


def check_init(spec: RecipeSpec, init: str) -> None:
    """See that a recipe knows a kind of start, before anything is built.

    Raises:
        SettingsError: It does not; names those it knows.
    """
    path = Path(init)
    if init == "none" or init.partition(":")[0] in spec.inits or path.suffix == ".safetensors":
        return
    if BACKBONE in spec.inits and path.is_file():
        return
    known = ", ".join(["none", "FILE.safetensors", *(f"{scheme}[:PLACE]" for scheme in spec.inits)])
    raise SettingsError(f"--init {init}: recipe {spec.name!r} knows {known}")


def check_network(spec: RecipeSpec, config: RunConfig) -> None:
    """See that a recipe's network can be built as a run wants it, and has the layers that the run freezes.

    Raises:
        SettingsError: It has not, or an argument of the network is unknown or out of range, or a head would answer
            that nothing trains.
    """
    with torch.device("meta"):  # shapes alone
        model = build_model(spec.architecture, config.model)
        freeze(model, config.train.freeze)
    if getattr(model, "votes_share", 0) and not config.train.votes_weight:
        raise SettingsError("model.votes_share: the head that it lets answer learns nothing with train.votes_weight=0")


def freeze(model: nn.Module, prefixes: Sequence[str]) -> int:
    """Stop the gradients of all parameters below the given names; returns how many numbers that is.

    Args:
        model: The network.
        prefixes: Names of modules or parameters, with or without a dot at the end: `layer1` is not `layer10`.

    Raises:
        SettingsError: A prefix fits no parameter.
    """
    frozen = 0
    named = dict(model.named_parameters())
    for prefix in prefixes:
        hit = [p for name, p in named.items() if f"{name}.".startswith(f"{prefix.rstrip('.')}.")]
        if not hit:
            raise SettingsError(
                f"train.freeze: no parameter is called or lies below {prefix!r}; there are {', '.join(named)[:300]}"
            )
        for parameter in hit:
            frozen += parameter.numel() if parameter.requires_grad else 0
            parameter.requires_grad = False
    return frozen


def freeze_body(model: nn.Module) -> None:
    """Stop the gradients of all parameters but the head's."""
    head = head_parameters(model)
    for parameter in model.parameters():
        if id(parameter) not in head:
            parameter.requires_grad = False


def train_mode(model: nn.Module) -> None:
    """Put a network in training mode, except frozen batch norms, whose running statistics stay as they are."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            module.eval()


def head_parameters(model: nn.Module) -> set[int]:
    """Return the ids of the parameters of `model.head`; none when the network names no head."""
    head = getattr(model, "head", None)
    return {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()


def _read(path: Path) -> dict[str, torch.Tensor]:
    if sidecar_path(path).is_file():
        return load_checkpoint(path)[0]
    try:
        return load_file(path)
    except OSError as exc:
        raise CheckpointError(f"--init {path}: {exc.strerror or exc}; name the weights file of a network") from exc
    except SafetensorError as exc:
        raise CheckpointError(f"--init {path}: not a safetensors file ({exc}); pickles are never loaded") from exc


def _matched(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors that fit, and what the body lacks."""
    own = model.state_dict()
    fitting = {k: v.to(own[k].dtype) for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    return fitting, sorted({k for k in own if not k.startswith("head")} - set(fitting))


def _take(model: nn.Module, path: Path, fitting: dict[str, torch.Tensor], missing: list[str]) -> None:
    if missing:
        raise CheckpointError(
            f"--init {path}: does not fit {type(model).__name__}; no tensor of the right shape for {missing[0]!r}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        )
    model.load_state_dict(fitting, strict=False)


@torch.no_grad()
def calibrate(model: nn.Module, faces: torch.Tensor) -> None:
    """Let a network with a `calibrate(faces)` method measure what it needs (running statistics, say).

    Args:
        model: The network; nothing happens without that method.
        faces: float32 [N, 1, 48, 48], normalised.
    """
    method = getattr(model, "calibrate", None)
    if callable(method):
        method(faces)
