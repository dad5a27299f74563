import os
from pathlib import Path

import pytest
import torch
from affect_resnet.dlib_resnet import DlibResNet
from affect_resnet.human import MANIFEST, initialise, load
from affect_resnet.mobilenet_face import BLOCKS, MEAN_BGR, MobileNetFace
from affect_resnet.tfjs import read_weights
from torch.nn import functional

from affect.errors import CheckpointError, SettingsError


def published(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The package's graph up to global_pooling/Mean; [N, 3, H, W], mean subtracted -> [N, 1024]."""

    def same(x: torch.Tensor, stride: int) -> torch.Tensor:
        total = (-(-x.shape[2] // stride) - 1) * stride + 3 - x.shape[2]
        near, far = total // 2, total - total // 2
        return functional.pad(x, (near, far, near, far))

    def act(x: torch.Tensor, name: str) -> torch.Tensor:
        scale = weights.get(f"{name}_bn/batchnorm_1/mul", torch.ones(x.shape[1]))
        return functional.relu6(x * scale[:, None, None] + weights[f"{name}_bn/batchnorm_1/sub"][:, None, None])

    kernel = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    x = act(functional.conv2d(same(x, 2), kernel, stride=2), "conv1")
    for number, (_, stride) in enumerate(BLOCKS, start=1):
        kernel = weights[f"conv_dw_{number}/depthwise_kernel"].permute(2, 3, 0, 1)
        x = functional.conv2d(same(x, stride), kernel, stride=stride, groups=len(kernel))
        x = act(x, f"conv_dw_{number}")
        kernel = weights[f"conv_pw_{number}/convolution/merged_input"].permute(3, 2, 0, 1)
        x = act(functional.conv2d(x, kernel), f"conv_pw_{number}")
    return x.mean((2, 3))


def check(folder: Path, side: int, faces: torch.Tensor) -> None:
    """The import computes what the package does, before and after the batch norms got real statistics."""
    weights = {name: torch.from_numpy(array) for name, array in read_weights(folder / MANIFEST).items()}
    model = MobileNetFace(side=side, dropout=0.0).eval()
    initialise(model, str(folder))
    large = functional.interpolate(faces, size=(side, side), mode="bilinear", align_corners=False)
    with torch.no_grad():
        wanted = published(weights, large.expand(-1, 3, -1, -1) * 255 - torch.tensor(MEAN_BGR)[:, None, None])
        assert 0 < float(wanted.max()) < 6
        torch.testing.assert_close(model.features(faces), wanted, atol=1e-4, rtol=0)
        untouched = model(faces)
        model.calibrate(faces, batch_size=3)
        torch.testing.assert_close(model.features(faces), wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(model(faces), untouched, atol=1e-4, rtol=0)
        torch.testing.assert_close(model.train().features(faces), wanted, atol=1e-2, rtol=0)


@pytest.mark.parametrize("side", [96, 75])
def test_the_import_keeps_the_function(human_package: Path, faces: torch.Tensor, side: int) -> None:
    check(human_package, side, faces)


@pytest.mark.skipif("AFFECT_HUMAN" not in os.environ, reason="AFFECT_HUMAN names no unpacked package")
def test_the_import_of_the_real_package_keeps_the_function(faces: torch.Tensor) -> None:
    check(Path(os.environ["AFFECT_HUMAN"]), 96, faces)


def test_another_network_is_refused(human_package: Path) -> None:
    with pytest.raises(SettingsError, match=r"MobileNetFace \(recipe mobilenet-face\), not DlibResNet"):
        initialise(DlibResNet(), str(human_package))


def test_weights_of_another_network_are_refused(human_package: Path) -> None:
    weights = read_weights(human_package / MANIFEST)
    del weights["conv_dw_4_bn/batchnorm_1/mul"]
    with pytest.raises(CheckpointError, match="no 'conv_dw_4_bn/batchnorm_1/mul'"):
        load(MobileNetFace(), weights)
