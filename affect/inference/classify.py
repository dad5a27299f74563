"""Crops -> calibrated probabilities: inputs are normalised, logits divided by the temperature, and checked."""

from dataclasses import dataclass

import numpy as np
import torch

from affect.errors import BackendError, ErrorCode
from affect.inference.backend import Backend
from affect.inference.bisect import bisect
from affect.inference.optional import EmbeddingBackend
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


@dataclass(frozen=True, slots=True)
class Reading:
    """A face as a backend reads it: calibrated probabilities [7], and its embedding [D] if one was asked for."""

    probabilities: FloatArray
    embedding: FloatArray | None = None


def classify(backend: Backend, crops: torch.Tensor) -> list[FloatArray | BackendError]:
    """Classify crops [N, C, S, S], 0-1; a bad crop or a bad answer costs only its own row.

    Returns:
        For each crop the probabilities [7], or the error.
    """
    return [
        found if isinstance(found, BackendError) else found.probabilities for found in read(backend, crops, embed=False)
    ]


def read(backend: Backend, crops: torch.Tensor, *, embed: bool) -> list[Reading | BackendError]:
    """As `classify`, with the embedding too where it is wanted and the backend is an `EmbeddingBackend`."""
    faces = normalise(crops, backend)

    def run(rows: list[int]) -> list[Reading | BackendError]:
        batch = faces if len(rows) == len(faces) else faces[rows]
        embeddings: torch.Tensor | None = None
        try:
            if embed and isinstance(backend, EmbeddingBackend):
                logits, embeddings = backend.predict_and_embed(batch)
            else:
                logits = backend.predict(batch)
        except Exception as exc:  # a plugin may raise anything; it becomes our error
            raise BackendError(f"the backend raised {type(exc).__name__}: {exc}") from exc
        return _readings(backend, logits, embeddings, len(rows))

    return bisect(run, list(range(len(faces))), BackendError)


def _readings(
    backend: Backend, logits: object, embeddings: torch.Tensor | None, count: int
) -> list[Reading | BackendError]:
    if not isinstance(logits, torch.Tensor):
        raise BackendError(
            f"the backend returned {type(logits).__name__}, expected a tensor",
            code=ErrorCode.BACKEND_BAD_OUTPUT,
        )
    if tuple(logits.shape) != (count, len(EMOTIONS)):
        raise BackendError(
            f"the backend returned logits {list(logits.shape)}, expected [{count}, {len(EMOTIONS)}]",
            code=ErrorCode.BACKEND_BAD_OUTPUT,
        )
    if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != count):
        raise BackendError(
            f"the backend returned embeddings {list(embeddings.shape)}, expected [{count}, D]",
            code=ErrorCode.BACKEND_BAD_OUTPUT,
        )
    table = probabilities(logits, backend.temperature).cpu().numpy()
    vectors = None if embeddings is None else embeddings.float().cpu().numpy()
    finite = np.isfinite(table).all(axis=1)
    return [
        Reading(row, None if vectors is None else vectors[k])
        if finite[k]
        else BackendError("the backend returned NaN or infinite logits", code=ErrorCode.BACKEND_BAD_OUTPUT)
        for k, row in enumerate(table)
    ]
