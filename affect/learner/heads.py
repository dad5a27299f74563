"""Heads: per learner state one calibrated linear score of a face, fitted on labelled faces by `affect-train learner`.

A head reads the backend's embedding and, beside it, `READINGS`: calibrated probabilities, head pose and eye opening.
Its score becomes a probability by a logistic curve, and evidence by what the state's share was in the fitted data.
Files are safetensors, no pickle; no torch in here.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from affect.errors import CheckpointError
from affect.labels import EMOTIONS, STATES, LearnerState
from affect.learner.evidence import FaceEvidence
from affect.settings.fit import HeadsFile, LearnerFit

Floats = NDArray[np.float64]

READINGS = (*(f"log_{e.value}" for e in EMOTIONS), "yaw", "abs_yaw", "pitch", "abs_roll", "log_eye_opening")
"""What a head reads beside the embedding; what a face does not give is taken for the mean."""

_LEAST = 1e-4  # probabilities and openings below this have its logarithm


def readings(face: FaceEvidence) -> Floats:
    """Return `READINGS` of a face, NaN where there is no pose or eye opening."""
    row = np.full(len(READINGS), np.nan)
    row[: len(EMOTIONS)] = np.log(np.maximum(face.probabilities, _LEAST))
    if face.pose is not None:
        row[7:11] = face.pose.yaw, abs(face.pose.yaw), face.pose.pitch, abs(face.pose.roll)
    if face.eye_opening is not None:
        row[11] = np.log(max(face.eye_opening, _LEAST))
    return row


@dataclass(frozen=True, slots=True)
class StateHeads:
    """Heads of S states over an embedding of length D and K readings.

    Attributes:
        states: Which ones.
        embedding: Weights [S, D]; D may be 0.
        readings: Weights [S, K] of the standardised readings.
        mean, std: Of the readings [K].
        bias: [S]; the mean score over the fitted people is 0.
        slope, intercept: [S] of the logistic curve from score to probability.
        rate: Share of faces with the state in the fitted data [S].
    """

    states: tuple[LearnerState, ...]
    embedding: Floats
    readings: Floats
    mean: Floats
    std: Floats
    bias: Floats
    slope: Floats
    intercept: Floats
    rate: Floats

    @property
    def indices(self) -> list[int]:
        """Places of the states in `STATES`."""
        return [STATES.index(state) for state in self.states]

    def can_read(self, face: FaceEvidence) -> bool:
        """Whether a face brings the embedding that the heads were fitted on."""
        length = self.embedding.shape[1]
        return length == 0 or (face.embedding is not None and face.embedding.shape == (length,))

    def scores_of(self, face: FaceEvidence) -> Floats:
        """Return the scores [S] of a face that `can_read`."""
        embedding = np.empty(0) if self.embedding.shape[1] == 0 else face.embedding
        assert embedding is not None
        return self.scores(np.asarray(embedding, np.float64), readings(face))

    def scores(self, embedding: Floats, row: Floats) -> Floats:
        """Return scores [..., S] of embeddings [..., D] and readings [..., K]."""
        standard = np.nan_to_num((row - self.mean) / self.std, nan=0.0)
        return np.asarray(embedding @ self.embedding.T + standard @ self.readings.T + self.bias)

    def probabilities(self, scores: Floats) -> Floats:
        """Return the calibrated probability of each state [..., S]."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * scores + self.intercept, -50, 50))))

    def log_ratios(self, scores: Floats) -> Floats:
        """Return log P(face | state) / P(face) [..., S]: how much likelier than usual the face makes each state."""
        return np.asarray(np.log(np.maximum(self.probabilities(scores), 1e-9) / self.rate))


@dataclass(frozen=True, slots=True)
class BackendFit:
    """A fit as an estimator takes it: the document and its heads."""

    facts: LearnerFit
    heads: StateHeads | None


_ARRAYS = ("embedding", "readings", "mean", "std", "bias", "slope", "intercept", "rate")


def pack_heads(name: str, heads: StateHeads) -> tuple[bytes, HeadsFile]:
    """Return heads as the content of a safetensors file of that name, and what the document says of it."""
    tensors = {name: np.ascontiguousarray(getattr(heads, name), np.float32) for name in _ARRAYS}
    data = save(tensors, metadata={"states": json.dumps(heads.states), "readings": json.dumps(READINGS)})
    facts = HeadsFile(
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        states=heads.states,
        embedding=heads.embedding.shape[1],
        readings=READINGS,
    )
    return data, facts


def load_heads(folder: Path, facts: HeadsFile) -> StateHeads:
    """Read the heads a document speaks of.

    Args:
        folder: Where the document lies.
        facts: What it says.

    Raises:
        CheckpointError: The file is missing, is another one, or does not have the shapes the document says.
    """
    path = folder / facts.file
    try:
        data = path.read_bytes()
        tensors = load(data)
    except OSError as exc:
        raise CheckpointError(f"{path}: no such heads; run `affect-train learner fit` again") from exc
    except SafetensorError as exc:
        raise CheckpointError(f"{path}: not a safetensors file ({exc}); pickles are never loaded") from exc
    if hashlib.sha256(data).hexdigest() != facts.sha256:
        raise CheckpointError(f"{path}: not the heads the fit was written with (sha256)")
    if facts.readings != READINGS:
        raise CheckpointError(
            f"{path}: reads {', '.join(facts.readings)}; this version gives {', '.join(READINGS)}: fit again"
        )
    count, length = len(facts.states), len(READINGS)
    shapes = dict.fromkeys(_ARRAYS, (count,)) | {
        "embedding": (count, facts.embedding),
        "readings": (count, length),
        "mean": (length,),
        "std": (length,),
    }
    for name, shape in shapes.items():
        found = tensors[name].shape if name in tensors else None
        if found != shape:
            raise CheckpointError(f"{path}: {name} should be {list(shape)}, is {found and list(found)}")
        if not np.isfinite(tensors[name]).all():
            raise CheckpointError(f"{path}: {name} is not finite")
    return StateHeads(facts.states, **{name: tensors[name].astype(np.float64) for name in _ARRAYS})
