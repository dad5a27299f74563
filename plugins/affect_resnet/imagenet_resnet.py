"""torchvision's ResNet18 and ResNet50 (He et al. 2016) with a head for emotions, and their ImageNet weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from affect.errors import CheckpointError, SettingsError
from affect_resnet.face_network import EmotionHead, FaceNetwork

MEAN_RGB = (0.485, 0.456, 0.406)  # torchvision's, of ImageNet
STD_RGB = (0.229, 0.224, 0.225)
SMALLEST = 32
SCHEME = "imagenet"


class ImageNetResNet(FaceNetwork):
    """A torchvision ResNet on enlarged grey faces.

    Its layers are below `body` (body.conv1, body.layer1 … body.layer4): prefixes for `train.freeze`.

    Args:
        variant: Which network.
        side: Side the faces are enlarged to.
        hidden: Sizes of extra dense layers before the last one; Boulis et al. 2019 take (4096, 1024).
        dropout: Before each dense layer.
        heads: 2 gives a second set of logits in training.

    Shapes:
        [N, 1, S, S], 0-1 -> logits [N, 7]; [N, 2, 7] in training mode with two heads.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        variant: Literal["resnet18", "resnet50"] = "resnet18",
        side: int = 112,
        hidden: Sequence[int] = (),
        dropout: float = 0.2,
        heads: int = 1,
    ) -> None:
        super().__init__(side, SMALLEST)
        if variant not in ("resnet18", "resnet50"):
            raise SettingsError(f"model.variant is resnet18 or resnet50, not {variant!r}")
        self.variant = variant
        self.register_buffer("mean", torch.tensor(MEAN_RGB)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD_RGB)[None, :, None, None], persistent=False)
        self.body = torchvision.models.get_model(variant, weights=None)
        features = self.body.fc.in_features
        self.body.fc = nn.Identity()
        self.head = EmotionHead(features, hidden, dropout, heads)

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """Return the embedding: [N, 512] of resnet18, [N, 2048] of resnet50."""
        x = (self.enlarge(faces) - self.mean) / self.std
        embedding: torch.Tensor = self.body(x.contiguous(memory_format=torch.channels_last))
        return embedding


def initialise(network: nn.Module, location: str) -> None:
    """Load ImageNet weights into an `ImageNetResNet`; its head stays as it was.

    Args:
        network: The network, changed in place.
        location: A file with torchvision's weights (.pth or .safetensors); empty to download them.

    Raises:
        SettingsError: Another network, no such file, or they cannot be downloaded here.
        CheckpointError: The file is damaged or of another network.
    """
    if not isinstance(network, ImageNetResNet):
        raise SettingsError(f"--init {SCHEME} is for recipes resnet18 and resnet50, not {type(network).__name__}")
    tensors = _read(Path(location).expanduser()) if location else _download(network.variant)
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    try:
        network.body.load_state_dict(body)
    except RuntimeError as exc:
        raise CheckpointError(f"--init {SCHEME}: these weights do not fit {network.variant}: {exc}") from exc


def _download(variant: str) -> Mapping[str, torch.Tensor]:
    weights = torchvision.models.get_model_weights(variant).IMAGENET1K_V1
    try:
        tensors: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as exc:  # URLError is one
        raise SettingsError(
            f"--init {SCHEME}: the weights of {variant} cannot be downloaded here ({exc}); fetch {weights.url} "
            f"elsewhere and name the file: --init {SCHEME}:FILE"
        ) from exc
    return tensors


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise SettingsError(f"--init {SCHEME}:{path}: no such file; torchvision's weights as .pth or .safetensors")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        tensors: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, UnpicklingError, SafetensorError) as exc:
        raise CheckpointError(f"--init {SCHEME}:{path}: cannot be read as weights ({exc})") from exc
    if not isinstance(tensors, Mapping) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise CheckpointError(f"--init {SCHEME}:{path}: not a table of tensors by name")
    return tensors
