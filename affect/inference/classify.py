"""Crops -> calibrated probabilities: the one place where inputs are normalised and logits become probabilities."""

import numpy as np
import torch

from affect.errors import BackendError, ErrorCode
from affect.inference.backend import Backend
from affect.inference.bisect import bisect
from affect.labels import EMOTIONS
from affect.types import FloatArray


def normalise(crops: torch.Tensor, backend: Backend) -> torch.Tensor:
    """Centre and scale crops [N, C, S, S], 0-1, as the backend's training did."""
    spec = backend.input
    mean = torch.tensor(spec.mean, device=crops.device).view(1, -1, 1, 1)
    std = torch.tensor(spec.std, device=crops.device).view(1, -1, 1, 1)
    return (crops - mean) / std


def probabilities(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return calibrated probabilities [N, 7]."""
    return (logits.float() / temperature).softmax(dim=1)


def classify(backend: Backend, crops: torch.Tensor) -> list[FloatArray | BackendError]:
    """Classify crops [N, C, S, S], 0-1; a bad crop or a bad answer costs only its own row.

    Returns:
        For each crop the probabilities [7], or the error.
    """
    faces = normalise(crops, backend)

    def run(rows: list[int]) -> list[FloatArray | BackendError]:
        batch = faces if len(rows) == len(faces) else faces[rows]
        try:
            logits = backend.predict(batch)
        except Exception as exc:  # a plugin may raise anything; it becomes our error
            raise BackendError(f"the backend raised {type(exc).__name__}: {exc}") from exc
        if not isinstance(logits, torch.Tensor):
            raise BackendError(
                f"the backend returned {type(logits).__name__}, expected a tensor",
                code=ErrorCode.BACKEND_BAD_OUTPUT,
            )
        if tuple(logits.shape) != (len(rows), len(EMOTIONS)):
            raise BackendError(
                f"the backend returned logits {list(logits.shape)}, expected [{len(rows)}, {len(EMOTIONS)}]",
                code=ErrorCode.BACKEND_BAD_OUTPUT,
            )
        table = probabilities(logits, backend.temperature).cpu().numpy()
        finite = np.isfinite(table).all(axis=1)
        return [
            row
            if good
            else BackendError("the backend returned NaN or infinite logits", code=ErrorCode.BACKEND_BAD_OUTPUT)
            for row, good in zip(table, finite, strict=True)
        ]

    return bisect(run, list(range(len(faces))), BackendError)
