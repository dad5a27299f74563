"""What a backend is: a stateless, batchable classifier of face crops."""

from typing import Protocol, runtime_checkable

import torch

from affect.inference.checkpoint import InputSpec


class Backend(Protocol):
    """Seven logits from face crops. One thread calls it, with batches of any size.

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


@runtime_checkable
class EmbeddingBackend(Protocol):
    """What a backend may offer besides: the embedding its last layer is given. `TorchBackend` does."""

    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Classify as `predict` does, in the same pass, and embed.

        Returns:
            Logits [N, 7], and embeddings [N, D] of the same D always, or None where the network has none to show.
        """
        ...
