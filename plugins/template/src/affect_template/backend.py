"""The backend itself."""

import torch

from affect.inference.backend import Backend
from affect.inference.checkpoint import InputSpec
from affect.inference.optional import calibration_of


class MirrorBackend:
    """Averages another backend's logits over the face and its mirror image."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    @property
    def input(self) -> InputSpec:
        """The tensor it wants: whatever the inner backend wants."""
        return self.inner.input

    @property
    def temperature(self) -> float:
        """Calibration of the logits."""
        return self.inner.temperature

    @property
    def power(self) -> float:
        """Exponent of the calibration; 1 is temperature scaling alone. Optional: see `affect.inference.optional`."""
        return calibration_of(self.inner).power

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7] for faces [N, C, S, S]; both views in one batch."""
        logits = self.inner.predict(torch.cat([faces, faces.flip(3)]))
        return (logits[: len(faces)] + logits[len(faces) :]) / 2

    def warmup(self) -> None:
        """Nothing of its own."""
        self.inner.warmup()

    def close(self) -> None:
        """Release the inner backend."""
        self.inner.close()
