"""Where the weights of a backbone come from: timm's downloads, or a file in timm's or torchvision's names."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from affect.errors import CheckpointError, SettingsError
from affect_seeds.transfer import Transfer

# timm's tags of the weights that follow the original publications' training most plainly.
TAGS = {
    "vgg16": "tv_in1k",
    "vgg19": "tv_in1k",
    "resnet50": "tv_in1k",
    "legacy_seresnet50": "in1k",
}
OWN_PREFIX = "backbone."


def imagenet(network: nn.Module, place: str = "") -> None:
    """Give a network's backbone the weights timm has for it, downloaded once to timm's cache.

    Args:
        network: A `Transfer`.
        place: Another of timm's tags for the same backbone (`a1_in1k`), or a file as for `backbone`; empty for the tag
            in `TAGS`.

    Raises:
        SettingsError: timm knows no such tag, or there is neither network nor cache; says what to do instead.
    """
    if place and Path(place).is_file():
        backbone(network, place)
        return
    import timm

    wanted = _transfer(network)
    name = f"{wanted.name}.{place or TAGS[wanted.name]}"
    try:
        found = timm.create_model(name, pretrained=True)
    except Exception as exc:  # whatever the hub, its HTTP library or the file system made of a missing network
        raise SettingsError(
            f"--init imagenet: timm could not bring {name} ({type(exc).__name__}: {_first_line(exc)}). Without a "
            f"network, copy its weights from a machine that has one and give --init backbone:FILE (safetensors, or "
            f"torchvision's .pth), or train from scratch with --init none --set freeze=[]"
        ) from exc
    load_backbone(wanted, found.state_dict(), name)


def backbone(network: nn.Module, place: str = "") -> None:
    """Give a network's backbone the weights of a file in timm's or torchvision's names; the dense part stays fresh.

    Args:
        network: A `Transfer`.
        place: Path of a safetensors file, or of a state dict that `torch.load` reads without running code (.pth).

    Raises:
        SettingsError: No path.
        CheckpointError: There is no such file, it holds no state dict, or one of another network.
    """
    if not place:
        raise SettingsError("--init backbone wants a file: --init backbone:FILE")
    load_backbone(_transfer(network), _read(Path(place)), place)


def load_backbone(network: Transfer, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy the tensors of a backbone, ignoring those of its old classifier.

    Args:
        network: Changed in place.
        tensors: State dict; names as in timm and torchvision (`layer1.0.conv1.weight`, `features.0.weight`), or with
            `backbone.` before them as in our own weights.
        source: For messages.

    Raises:
        CheckpointError: A tensor of the backbone is missing or has another shape.
    """
    own = network.backbone.state_dict()
    given = {name.removeprefix(OWN_PREFIX): tensor for name, tensor in tensors.items()}
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            continue  # older files have none
        shape = tuple(given[name].shape) if name in given else None
        if shape != tuple(tensor.shape):
            found = "there is none" if shape is None else f"it is {list(shape)}"
            raise CheckpointError(f"{source}: no {network.name}; {name} should be {list(tensor.shape)}, {found}")
    network.backbone.load_state_dict({name: given.get(name, tensor) for name, tensor in own.items()})


def _transfer(network: nn.Module) -> Transfer:
    if not isinstance(network, Transfer):
        raise SettingsError(f"pretrained weights are for networks with a backbone, not for {type(network).__name__}")
    return network


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # it then says what is wrong
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path}: no such weights file") from exc
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as exc:
        raise CheckpointError(f"{path}: neither safetensors nor a plain state dict ({_first_line(exc)})") from exc
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise CheckpointError(f"{path}: expected a state dict of tensors, found {type(tensors).__name__}")
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
