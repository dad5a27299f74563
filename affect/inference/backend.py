"""What a backend is: a stateless, batchable classifier of face crops."""

from typing import Protocol

import torch

from affect.inference.checkpoint import InputSpec


class Backend(Protocol):
    """Seven logits from face crops. One thread calls it, with batches of any size.

    What it may offer besides is in `affect.inference.optional`.

    Attributes:
        input: The tensor it wants.
        temperature: Its logits are divided by this before the softmax (calibration).
    """

    @property
    def input(self) -> InputSpec:
        """The tensor it wants."""
        ...

    @property
    def temperature(self) -> float:
        """Its logits are divided by this before the softmax."""
        ...

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Classify.

        Args:
            faces: float32 [N, C, size, size], normalised by `input.mean` and `input.std`, on the backend's device.

        Returns:
            Logits [N, 7] in the order of `affect.labels.EMOTIONS`.
        """
        ...

    def warmup(self) -> None:
        """Do once what the first prediction would otherwise wait for."""
        ...

    def close(self) -> None:
        """Release memory."""
        ...
