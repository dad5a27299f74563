"""From float32 ONNX to int8 ONNX, with what that costs in accuracy.

Static quantisation by onnxruntime: weights int8 with a scale a channel, activations uint8 with one a tensor, whose
range is the 99.999 % percentile over Training faces, evenly of each emotion. On Nguyen's network ranges from the
extremes or by entropy, or one scale for all channels of a kernel, cost one to three tenths of a point more.
"""

import contextlib
import io
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affect.inference.checkpoint import InputSpec
from affect.labels import EMOTIONS
from affect.types import FloatArray
from affect_training.data import Split
from affect_training.evaluation import metrics
from affect_training.export.onnx import faces_of, open_session, run_session

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

CALIBRATION_FACES = 511
"""Training faces that set the ranges: 73 of each emotion, or as many as there are and as memory allows."""

CALIBRATION_BYTES = 4_000_000_000
"""onnxruntime keeps all activations of all calibration faces (float32) until it has seen the last one."""


@dataclass(frozen=True, slots=True)
class OnnxScore:
    """One ONNX file on one split."""

    path: Path
    size: int
    accuracy: float
    ci95: tuple[float, float]
    n: int
    faces_per_s: float


@dataclass(frozen=True, slots=True)
class Int8Report:
    """The int8 file next to the one it was made of.

    Attributes:
        agreement: Share of faces that both label alike.
        calibrated_on: Number of Training faces that set the ranges.
    """

    original: OnnxScore
    quantised: OnnxScore
    agreement: float
    calibrated_on: int


def quantise(original: Path, out: Path, spec: InputSpec, training: Split, validation: Split) -> Int8Report:
    """Write the int8 twin of an ONNX file and measure both.

    Args:
        original: A file of `affect_training.export.onnx`.
        out: The int8 file to write; it carries the metadata of the original, and both accuracies.
        spec: What the network is given.
        training: Faces to calibrate on.
        validation: Faces to measure on, PublicTest.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    log.info("quantising %s, and scoring both on %d faces", original, len(validation))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(original), str(prepared))
        affordable = CALIBRATION_BYTES // (4 * floats_a_face(onnx.load(str(prepared))))
        rows = calibration_rows(training, min(CALIBRATION_FACES, max(affordable, len(EMOTIONS))))
        calibration = faces_of(training.take(rows).images, spec)
        quantize_static(
            str(prepared),
            str(made),
            _reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
        )
        model = onnx.load(str(made))
    faces = faces_of(validation.images, spec)
    partial = out.with_suffix(".partial")
    try:
        onnx.save(model, str(partial))
        before, logits_before = score(original, faces, validation)
        after, logits_after = score(partial, faces, validation)
        facts = {entry.key: entry.value for entry in onnx.load(str(original), load_external_data=False).metadata_props}
        facts["affect.accuracy"] = json.dumps({"float32": before.accuracy, "int8": after.accuracy, "n": after.n})
        onnx.helper.set_model_props(model, facts)
        onnx.save(model, str(partial))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    agreement = float((logits_before.argmax(1) == logits_after.argmax(1)).mean())
    quantised = OnnxScore(out, out.stat().st_size, after.accuracy, after.ci95, after.n, after.faces_per_s)
    return Int8Report(before, quantised, agreement, len(calibration))


def score(path: Path, faces: FloatArray, split: Split) -> tuple[OnnxScore, FloatArray]:
    """Return the accuracy of an ONNX file on normalised faces [N, C, S, S] with its interval, and the logits."""
    session = open_session(path)
    run_session(session, faces[:8])
    started = time.perf_counter()
    logits = run_session(session, faces)
    seconds = time.perf_counter() - started
    right = logits.argmax(1) == split.labels
    interval = metrics.bootstrap_ci95(right)
    rate = len(faces) / seconds
    return OnnxScore(path, path.stat().st_size, float(right.mean()), interval, len(right), rate), logits


def calibration_rows(training: Split, count: int = CALIBRATION_FACES) -> NDArray[np.int64]:
    """Return rows of a split, evenly over the emotions; the same ones every time."""
    rng = np.random.default_rng(0)
    share = count // len(EMOTIONS)
    rows = [rng.permutation(np.flatnonzero(training.labels == k))[:share] for k in range(len(EMOTIONS))]
    return np.sort(np.concatenate(rows)).astype(np.int64)


def floats_a_face(model: "ModelProto") -> int:
    """Return how many values the tensors between the layers of a network have for one face, shapes being inferred."""
    sizes = [[axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim] for value in model.graph.value_info]
    return max(1, sum(map(math.prod, sizes)))


def _reader(faces: FloatArray) -> "object":
    """Return onnxruntime's kind of iterator over batches: of one face, as all have to be of one size."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[FloatArray] = (faces[k : k + 1] for k in range(len(faces)))

        def get_next(self) -> dict[str, FloatArray] | None:
            part = next(self.batches, None)
            return None if part is None else {"faces": part}

    return Reader()
