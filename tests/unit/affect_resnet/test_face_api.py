import os
from pathlib import Path

import pytest
import torch
from affect_resnet.dlib_resnet import BLOCKS, MEAN_RGB, DlibResNet
from affect_resnet.face_api import MANIFEST, descriptor_matrix, initialise, load
from affect_resnet.mobilenet_face import MobileNetFace
from affect_resnet.tfjs import read_weights
from torch import nn
from torch.nn import functional

from affect.errors import CheckpointError, SettingsError

Tensors = dict[str, torch.Tensor]


def published(weights: Tensors, rgb: torch.Tensor) -> torch.Tensor:
    """The package's own forward pass, RGB [N, 3, H, W] of 0-255 -> [N, 256], scale layers as they are."""

    def conv(x: torch.Tensor, name: str, stride: int, padding: int) -> torch.Tensor:
        kernel = weights[f"{name}/conv/filters"].permute(3, 2, 0, 1)
        x = functional.conv2d(x, kernel, weights[f"{name}/conv/bias"], stride, padding)
        return x * weights[f"{name}/scale/weights"][:, None, None] + weights[f"{name}/scale/biases"][:, None, None]

    x = (rgb - torch.tensor(MEAN_RGB)[:, None, None]) / 256
    x = functional.max_pool2d(functional.relu(conv(x, "conv32_down", 2, 0)), 3, 2)
    for name, _, down in BLOCKS:
        out = functional.relu(conv(x, f"{name}/conv1", 2 if down else 1, 0 if down else 1))
        out = conv(out, f"{name}/conv2", 1, 1)
        if down:
            pooled = functional.avg_pool2d(x, 2)
            if pooled.shape[2] != out.shape[2]:
                out = torch.cat([out, torch.zeros_like(out[:, :, :1])], 2)
                out = torch.cat([out, torch.zeros_like(out[:, :, :, :1])], 3)
            if pooled.shape[1] != out.shape[1]:
                pooled = torch.cat([pooled, torch.zeros_like(pooled)], 1)
            x = pooled
        x = functional.relu(out + x)
    return x.mean((2, 3))


def check(folder: Path, side: int, faces: torch.Tensor) -> None:
    """The import computes what the package does, before and after the batch norms got real statistics."""
    weights = {name: torch.from_numpy(array) for name, array in read_weights(folder / MANIFEST).items()}
    model = DlibResNet(side=side, dropout=0.0).eval()
    initialise(model, str(folder))
    large = functional.interpolate(faces, size=(side, side), mode="bilinear", align_corners=False)
    with torch.no_grad():
        wanted = published(weights, large.expand(-1, 3, -1, -1) * 255)
        tolerance = 1e-4 * float(wanted.abs().max())
        torch.testing.assert_close(model.features(faces), wanted, atol=tolerance, rtol=0)
        untouched = model(faces)
        model.calibrate(faces, batch_size=3)
        torch.testing.assert_close(model.features(faces), wanted, atol=tolerance, rtol=0)
        torch.testing.assert_close(model(faces), untouched, atol=tolerance, rtol=0)
        # What it is for: the statistics of a batch of such faces give the same answer.
        torch.testing.assert_close(model.train().features(faces), wanted, atol=20 * tolerance, rtol=0)


@pytest.mark.parametrize("side", [104, 113])
def test_the_import_keeps_the_function(face_api_package: Path, faces: torch.Tensor, side: int) -> None:
    check(face_api_package, side, faces)


@pytest.mark.skipif("AFFECT_FACE_API" not in os.environ, reason="AFFECT_FACE_API names no unpacked package")
def test_the_import_of_the_real_package_keeps_the_function(faces: torch.Tensor) -> None:
    check(Path(os.environ["AFFECT_FACE_API"]), 112, faces)


def test_without_calibration_training_would_start_elsewhere(face_api_package: Path, faces: torch.Tensor) -> None:
    model = DlibResNet(side=104)
    initialise(model, str(face_api_package))
    with torch.no_grad():
        serving, training = model.eval().features(faces), model.train().features(faces)
    assert float((serving - training).abs().max()) > 0.1 * float(serving.abs().max())


def test_calibration_measures_every_batch_norm_and_leaves_the_mode(face_api_package: Path, faces: torch.Tensor) -> None:
    model = DlibResNet(side=104).train()
    initialise(model, str(face_api_package))
    model.calibrate(faces)
    assert model.training
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 29
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert bool(norm.running_mean.any())
        assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))


def test_calibration_leaves_alone_what_was_not_imported_or_is_calibrated(
    face_api_package: Path, faces: torch.Tensor
) -> None:
    fresh, done = DlibResNet(side=104), DlibResNet(side=104)
    initialise(done, str(face_api_package))
    done.calibrate(faces)
    for model in (fresh, done):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.calibrate(faces[:3])
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_head_stays_as_it_was(face_api_package: Path) -> None:
    model = DlibResNet(heads=2)
    before = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    initialise(model, str(face_api_package))
    for name, tensor in model.head.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_descriptor_is_a_matrix_away(face_api_package: Path) -> None:
    assert descriptor_matrix(read_weights(face_api_package / MANIFEST)).shape == (256, 128)


def test_another_network_is_refused(face_api_package: Path) -> None:
    with pytest.raises(SettingsError, match=r"DlibResNet \(recipe resnet-face\), not MobileNetFace"):
        initialise(MobileNetFace(), str(face_api_package))


def test_weights_of_another_network_are_refused(face_api_package: Path) -> None:
    weights = read_weights(face_api_package / MANIFEST)
    weights["conv64_1/conv1/conv/filters"] = weights["conv64_1/conv1/conv/filters"][:2]
    with pytest.raises(CheckpointError, match="conv64_1/conv1/conv/filters: expected shape"):
        load(DlibResNet(), weights)
