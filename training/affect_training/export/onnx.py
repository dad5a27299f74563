"""From a weights file to ONNX, checked against torch.

The graph is what the sidecar describes: float32 faces [N, C, S, S], cropped and normalised, in; logits [N, 7] out.
What else a caller must know (labels, normalisation, temperature) travels in the file's metadata.
"""

import json
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import nn

from affect.errors import CheckpointError
from affect.inference.calibration import power_scaled
from affect.inference.checkpoint import InputSpec, Sidecar
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend
from affect.pictures import whole_faces
from affect.plugins import PluginHost
from affect.types import ByteArray, FloatArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TOLERANCE = 1e-3
"""Largest difference of a logit between onnxruntime and torch, both float32, that is let pass. A temperature above 1,
which goes with a power, makes larger ones as harmless."""

BATCH = 256


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """What was written, and how far its logits are from torch's at most.

    Attributes:
        size: Of the file, bytes.
        random_error, real_error: Largest difference of a logit, on noise and on faces; divided by the temperature where
            that is above 1.
    """

    path: Path
    size: int
    opset: int
    random_error: float
    real_error: float
    real_faces: int


class _Raised(nn.Module):
    """A network with the power of its sidecar: what it puts out are a backend's logits."""

    def __init__(self, network: nn.Module, power: float) -> None:
        super().__init__()
        self.network, self.power = network, power

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return power_scaled(self.network(faces), self.power)


def load_network(weights: Path) -> tuple[nn.Module, Sidecar]:
    """Return the network of a weights file, float32 on the CPU, in eval mode, and its sidecar.

    What the network puts out are logits, as those of the backend: they only lack the temperature.

    Raises:
        CheckpointError: The file cannot be loaded; says why.
    """
    backend = PluginHost().create_backend(str(weights), Device("cpu", "float32"))
    assert isinstance(backend, TorchBackend)
    return _Raised(backend.model, backend.sidecar.power).eval(), backend.sidecar


def export_onnx(weights: Path, out: Path, real: ByteArray) -> OnnxReport:
    """Write a weights file as ONNX with a free batch size.

    Args:
        weights: A safetensors file with its sidecar, of a network that a registered recipe names.
        out: The ONNX file to write; it is only there when the check has passed.
        real: uint8 [N, H, W], real faces for the check.

    Raises:
        CheckpointError: The weights cannot be loaded, the network cannot be exported, or the logits differ by more
            than `TOLERANCE`.
    """
    model, sidecar = load_network(weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    try:
        opset = _write(model, sidecar, partial)
        session = open_session(partial)
        spec = sidecar.input
        noise = np.random.default_rng(0).normal(size=(9, spec.channels, spec.size, spec.size)).astype(np.float32)
        scale = max(1.0, sidecar.temperature)
        random_error = _difference(model, session, noise) / scale
        real_error = _difference(model, session, faces_of(real, spec)) / scale
        if not max(random_error, real_error) <= TOLERANCE:
            raise CheckpointError(
                f"{out}: the ONNX logits differ from torch's by {random_error:.2g} (random) and {real_error:.2g} "
                f"(real faces), more than {TOLERANCE:g}; not written"
            )
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return OnnxReport(out, out.stat().st_size, opset, random_error, real_error, len(real))


def metadata_of(sidecar: Sidecar) -> dict[str, str]:
    """Return what a caller of the ONNX file must know, each value as JSON."""
    spec = sidecar.input
    facts = {
        "labels": list(sidecar.labels),
        "input": "float32 [N, channels, size, size]: (pixel / 255 - mean) / std of a face crop",
        "size": spec.size,
        "channels": spec.channels,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "crop_landmarks": [list(point) for point in spec.crop.landmarks],
        "temperature": sidecar.temperature,
        "architecture": sidecar.architecture,
        "weights_sha256": sidecar.weights_sha256,
        "data": sidecar.data,
        "licence": sidecar.licence,
    }
    return {f"affect.{name}": json.dumps(value) for name, value in facts.items()}


def open_session(path: Path) -> "InferenceSession":
    """Open an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_session(session: "InferenceSession", faces: FloatArray) -> FloatArray:
    """Return logits [N, 7] of normalised faces [N, C, S, S]."""
    parts = [session.run(["logits"], {"faces": faces[k : k + BATCH]})[0] for k in range(0, len(faces), BATCH)]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def faces_of(images: ByteArray, spec: InputSpec) -> FloatArray:
    """Turn grey faces, uint8 [N, H, W], into what the network is given: float32 [N, C, S, S], as serving does."""
    crops = whole_faces(list(images), spec, torch.device("cpu")).numpy()
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    return np.asarray((crops - mean) / std, np.float32)


def patches(count: int = 64, side: int = 48) -> ByteArray:
    """Cut square patches of many sizes out of the photograph that ships: real input where no data set is at hand.

    Returns:
        Grey, uint8 [count, side, side]; the same ones every time.
    """
    jpeg = resources.files("affect.assets").joinpath("astronaut.jpg").read_bytes()
    grey = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        size = int(rng.integers(side, min(grey.shape) + 1))
        y, x = (int(rng.integers(0, length - size + 1)) for length in grey.shape)
        found.append(cv2.resize(grey[y : y + size, x : x + size], (side, side), interpolation=cv2.INTER_AREA))
    return np.stack(found).astype(np.uint8)


def _write(model: nn.Module, sidecar: Sidecar, path: Path) -> int:
    """Export by torch's graph capture; returns the opset."""
    spec = sidecar.input
    example = torch.zeros(2, spec.channels, spec.size, spec.size)
    try:
        with warnings.catch_warnings():
            # torch's exporter walks over deprecated parts of itself; nothing of ours is meant
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.|onnxscript\.|copyreg")
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.|onnxscript\.|copyreg")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: "N"},),
                input_names=["faces"],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as exc:
        first = str(exc).strip().splitlines()[0]
        raise CheckpointError(f"{sidecar.architecture} cannot be exported to ONNX: {first}") from exc
    assert program is not None
    graph = program.model
    for node in graph.graph:
        node.metadata_props.clear()  # stack traces with the paths of this machine
    graph.metadata_props.update(metadata_of(sidecar))
    program.save(str(path), external_data=False)
    return int(graph.opset_imports[""])


def _difference(model: nn.Module, session: "InferenceSession", faces: FloatArray) -> float:
    with torch.inference_mode():
        expected = np.concatenate(
            [model(torch.from_numpy(faces[k : k + BATCH])).numpy() for k in range(0, len(faces), BATCH)]
        )
    return float(np.abs(run_session(session, faces) - expected).max())
