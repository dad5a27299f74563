"""A backend out of a torch network and a checkpoint; what most plugins need."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from affect.errors import CheckpointError
from affect.inference.calibration import power_scaled
from affect.inference.checkpoint import InputSpec, Sidecar, load_checkpoint
from affect.inference.device import Device


class TorchBackend:
    """Runs a network in the device's own precision and layout.

    Args:
        build: Makes the network without weights.
        weights: A safetensors file with its sidecar beside it.
        device: Where it runs.

    Raises:
        CheckpointError: The weights do not fit the network, or sidecar and weights differ.
    """

    def __init__(self, build: Callable[[], nn.Module], weights: Path, device: Device) -> None:
        tensors, self.sidecar = load_checkpoint(weights)
        model = build()
        try:
            model.load_state_dict(tensors)
        except RuntimeError as exc:
            raise CheckpointError(f"{weights}: does not fit {type(model).__name__}: {exc}") from exc
        self.device = device
        self.model = device.place(model).eval().requires_grad_(requires_grad=False)
        self._served = device.rounded(self.model)

    sidecar: Sidecar
    model: nn.Module
    """The network in float32, for those who look into it; `predict` runs a copy with rounded weights. What it puts out
    are logits only after `logits_of`."""

    @property
    def input(self) -> InputSpec:
        """The tensor it wants."""
        return self.sidecar.input

    @property
    def temperature(self) -> float:
        """Calibration of the logits."""
        return self.sidecar.temperature

    @property
    def power(self) -> float:
        """Exponent of the calibration; 1 is temperature scaling alone."""
        return self.sidecar.power

    def logits_of(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, 7], float32, that outputs of `model` stand for: raised to the sidecar's power."""
        return power_scaled(outputs, self.power)

    @torch.inference_mode()
    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7], float32."""
        with self.device.autocast():
            outputs: torch.Tensor = self._served(self.device.layout(faces))
        return self.logits_of(outputs)

    @torch.inference_mode()
    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return logits [N, 7] and what the network's `head` is given [N, D], float32; None without such a layer."""
        head = getattr(self._served, "head", None)
        if not isinstance(head, nn.Module):
            return self.predict(faces), None
        seen: list[torch.Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self.predict(faces)
        finally:
            handle.remove()
        return logits, seen[-1].flatten(1).float() if seen else None

    def embed(self, faces: torch.Tensor) -> torch.Tensor | None:
        """Return embeddings [N, D], float32, or None when the network names no `head`."""
        return self.predict_and_embed(faces)[1]

    def warmup(self) -> None:
        """Run the batch sizes that choose their kernels first."""
        for count in (1, 8):
            self.predict(
                torch.zeros(count, self.input.channels, self.input.size, self.input.size, device=self.device.torch)
            )

    def close(self) -> None:
        """Drop the network."""
        self.model = self._served = nn.Identity()
