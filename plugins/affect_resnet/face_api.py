"""Brings the weights of the npm package @vladmandic/face-api into `DlibResNet`."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from affect.errors import SettingsError
from affect_resnet.dlib_resnet import BLOCKS, MEAN_GREY, MEAN_RGB, RANGE, ConvNorm, DlibResNet, Residual
from affect_resnet.face_network import set_affine
from affect_resnet.tfjs import find, read_weights, take

PACKAGE = "@vladmandic/face-api@1.7.15"
MANIFEST = "model/face_recognition_model-weights_manifest.json"
SCHEME = "face-api"

Weights = Mapping[str, npt.NDArray[np.float32]]


def initialise(network: nn.Module, location: str) -> None:
    """Load the face-identity weights into a `DlibResNet`; its head stays as it was.

    The network then computes the published embedding; call its `calibrate` with training faces before training it.

    Args:
        network: The network, changed in place.
        location: Folder of the unpacked package.

    Raises:
        SettingsError: Another network, or no such package there.
        CheckpointError: The files are damaged or of another network.
    """
    if not isinstance(network, DlibResNet):
        raise SettingsError(f"--init {SCHEME} is for DlibResNet (recipe resnet-face), not {type(network).__name__}")
    load(network, read_weights(find(location, MANIFEST, scheme=SCHEME, package=PACKAGE)))


@torch.no_grad()
def load(network: DlibResNet, weights: Weights) -> None:
    """Copy tensors named as in the package; scale layers become uncalibrated batch norms."""
    _load_stem(network.conv32_down, weights)
    network.calibrated = False
    for name, _, _ in BLOCKS:
        block = network.get_submodule(name)
        assert isinstance(block, Residual)
        _load_conv(block.conv1, weights, f"{name}/conv1")
        _load_conv(block.conv2, weights, f"{name}/conv2")


def descriptor_matrix(weights: Weights) -> torch.Tensor:
    """Return the matrix [256, 128] from the embedding to dlib's identity descriptor.

    Two faces of one person are less than .6 apart (Euclidean) in it, says dlib.
    """
    return torch.from_numpy(take(weights, "fc", (256, 128)))


def _load_conv(layer: ConvNorm, weights: Weights, name: str) -> None:
    outputs, inputs, height, width = layer.conv.weight.shape
    kernel = torch.from_numpy(take(weights, f"{name}/conv/filters", (height, width, inputs, outputs)))
    layer.conv.weight.copy_(kernel.permute(3, 2, 0, 1))
    bias, scale, shift = _affine(weights, name, outputs)
    set_affine(layer.norm, scale, bias * scale + shift)


def _load_stem(layer: ConvNorm, weights: Weights) -> None:
    """Sum the RGB kernels: for grey x, sum_c k_c * (255 x - mean_c) / 256 is a grey convolution plus a constant."""
    outputs, _, height, width = layer.conv.weight.shape
    kernel = torch.from_numpy(take(weights, "conv32_down/conv/filters", (height, width, len(MEAN_RGB), outputs)))
    kernel = kernel.double().permute(3, 2, 0, 1)
    offset = (MEAN_GREY - torch.tensor(MEAN_RGB, dtype=torch.float64)) / RANGE
    layer.conv.weight.copy_(kernel.sum(1, keepdim=True))
    bias, scale, shift = _affine(weights, "conv32_down", outputs)
    bias = bias + (kernel.sum((2, 3)) * offset).sum(1)
    set_affine(layer.norm, scale, bias * scale + shift)


def _affine(weights: Weights, name: str, channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    names = (f"{name}/conv/bias", f"{name}/scale/weights", f"{name}/scale/biases")
    bias, scale, shift = (torch.from_numpy(take(weights, key, (channels,))).double() for key in names)
    return bias, scale, shift
