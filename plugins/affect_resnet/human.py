"""Brings the weights of `faceres` (npm package @vladmandic/human) into `MobileNetFace`."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from affect.errors import SettingsError
from affect_resnet.face_network import set_affine
from affect_resnet.mobilenet_face import BLOCKS, ConvNorm6, MobileNetFace
from affect_resnet.tfjs import find, read_weights, take

PACKAGE = "@vladmandic/human@3.3.6"
MANIFEST = "models/faceres.json"
SCHEME = "human"

Weights = Mapping[str, npt.NDArray[np.float32]]


def initialise(network: nn.Module, location: str) -> None:
    """Load the face-identity weights into a `MobileNetFace`; its head stays as it was.

    The network then computes the published embedding; call its `calibrate` with training faces before training it.

    Args:
        network: The network, changed in place.
        location: Folder of the unpacked package.

    Raises:
        SettingsError: Another network, or no such package there.
        CheckpointError: The files are damaged or of another network.
    """
    if not isinstance(network, MobileNetFace):
        raise SettingsError(
            f"--init {SCHEME} is for MobileNetFace (recipe mobilenet-face), not {type(network).__name__}"
        )
    load(network, read_weights(find(location, MANIFEST, scheme=SCHEME, package=PACKAGE)))


@torch.no_grad()
def load(network: MobileNetFace, weights: Weights) -> None:
    """Copy tensors named as in the package; what was folded becomes uncalibrated batch norms."""
    _load(network.conv1, weights, "conv1")
    network.calibrated = False
    for number in range(1, len(BLOCKS) + 1):
        for name in (f"conv_dw_{number}", f"conv_pw_{number}"):
            layer = network.get_submodule(name)
            assert isinstance(layer, ConvNorm6)
            _load(layer, weights, name)


def _load(layer: ConvNorm6, weights: Weights, name: str) -> None:
    """Copy one layer: depthwise ones kept their batch norm's scale, of all others it went into the kernel."""
    outputs, inputs, height, width = layer.conv.weight.shape
    shift = torch.from_numpy(take(weights, f"{name}_bn/batchnorm_1/sub", (outputs,)))
    if layer.conv.groups > 1:
        kernel = take(weights, f"{name}/depthwise_kernel", (height, width, outputs, 1))
        layer.conv.weight.copy_(torch.from_numpy(kernel).permute(2, 3, 0, 1))
        scale = torch.from_numpy(take(weights, f"{name}_bn/batchnorm_1/mul", (outputs,)))
    else:
        kernel = take(weights, f"{name}/convolution/merged_input", (height, width, inputs, outputs))
        layer.conv.weight.copy_(torch.from_numpy(kernel).permute(3, 2, 0, 1))
        scale = torch.ones(outputs)
    set_affine(layer.norm, scale, shift)
