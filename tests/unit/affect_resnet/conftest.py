"""npm packages like the real ones, with random weights: same files, names, shapes and quantisation."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from affect_resnet.dlib_resnet import BLOCKS as RESNET_BLOCKS
from affect_resnet.mobilenet_face import BLOCKS as MOBILENET_BLOCKS

Floats = npt.NDArray[np.float32]
RNG = np.random.default_rng(7)
START = RNG.bit_generator.state


def entry(name: str, values: Floats, dtype: str) -> tuple[dict[str, Any], bytes]:
    """Quantise one tensor as TensorFlow.js does."""
    described: dict[str, Any] = {"name": name, "shape": list(values.shape), "dtype": "float32"}
    if dtype == "uint8":
        low, high = float(values.min()), float(values.max())
        step = (high - low) / 255 or 1.0
        described["quantization"] = {"dtype": "uint8", "scale": step, "min": low}
        return described, np.round((values - low) / step).astype(np.uint8).tobytes()
    if dtype == "float16":
        described["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        return described, values.astype("<f2").tobytes()
    return described, values.astype("<f4").tobytes()


def write(manifest: Path, tensors: Iterable[tuple[str, Floats, str]], *, graph: bool) -> None:
    """Write a manifest and one shard."""
    made = [entry(*tensor) for tensor in tensors]
    shard = manifest.with_suffix(".bin")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    shard.write_bytes(b"".join(data for _, data in made))
    groups = [{"paths": [shard.name], "weights": [described for described, _ in made]}]
    manifest.write_text(json.dumps({"format": "graph-model", "weightsManifest": groups} if graph else groups))


def kernel(*shape: int) -> Floats:
    """Random kernels [H, W, in, out] of unit gain."""
    return (RNG.standard_normal(shape) * (2 / np.prod(shape[:-1])) ** 0.5).astype(np.float32)


def vector(size: int, low: float, high: float) -> Floats:
    return RNG.uniform(low, high, size).astype(np.float32)


def face_api_tensors() -> Iterable[tuple[str, Floats, str]]:
    """Every tensor of model/face_recognition_model, most of them in 8 bits, those of conv64_* as they are."""
    RNG.bit_generator.state = START  # whichever package is made first
    inputs, layers = 32, [("conv32_down", 7, 3, 32)]
    for name, outputs, _ in RESNET_BLOCKS:
        layers += [(f"{name}/conv1", 3, inputs, outputs), (f"{name}/conv2", 3, outputs, outputs)]
        inputs = outputs
    for name, size, fan_in, fan_out in layers:
        dtype = "float32" if name.startswith("conv64") else "uint8"
        yield f"{name}/conv/filters", kernel(size, size, fan_in, fan_out), dtype
        yield f"{name}/conv/bias", vector(fan_out, -0.05, 0.05), "uint8"
        yield f"{name}/scale/weights", vector(fan_out, 0.4, 0.8), "uint8"
        yield f"{name}/scale/biases", vector(fan_out, -0.2, 0.2), "uint8"
    yield "fc", kernel(256, 128), "uint8"


def human_tensors() -> Iterable[tuple[str, Floats, str]]:
    """The tensors of models/faceres that are read, in 16 bits, and one that is not."""
    RNG.bit_generator.state = START
    yield "age_pred/kernel", kernel(256, 100), "float16"
    layers = [("conv1", 3, 3, 32)]
    inputs = 32
    for number, (outputs, _) in enumerate(MOBILENET_BLOCKS, start=1):
        layers += [(f"conv_dw_{number}", 3, inputs, 0), (f"conv_pw_{number}", 1, inputs, outputs)]
        inputs = outputs
    for name, size, fan_in, fan_out in layers:
        norm = f"{name}_bn/batchnorm_1"
        if fan_out:
            # Pixels of 0-255 come in: the first kernels are small.
            gain = np.float32(0.02 if name == "conv1" else 1.0)
            yield f"{name}/convolution/merged_input", kernel(size, size, fan_in, fan_out) * gain, "float16"
        else:
            yield f"{name}/depthwise_kernel", kernel(size, size, 1, fan_in).reshape(3, 3, fan_in, 1), "float16"
            yield f"{norm}/mul", vector(fan_in, 0.5, 1.5), "float16"
        yield f"{norm}/sub", vector(fan_out or fan_in, -0.2, 0.6), "float16"


@pytest.fixture(scope="session")
def face_api_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an unpacked @vladmandic/face-api with random weights."""
    folder = tmp_path_factory.mktemp("face-api")
    write(folder / "model" / "face_recognition_model-weights_manifest.json", face_api_tensors(), graph=False)
    return folder


@pytest.fixture(scope="session")
def human_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an unpacked @vladmandic/human with random weights."""
    folder = tmp_path_factory.mktemp("human")
    write(folder / "models" / "faceres.json", human_tensors(), graph=True)
    return folder


@pytest.fixture
def faces() -> torch.Tensor:
    """Eight smooth pictures [8, 1, 48, 48], 0-1."""
    coarse = torch.rand(8, 1, 7, 7, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bilinear", align_corners=False)
