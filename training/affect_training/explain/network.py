"""A torch backend opened for looking into: its network in float32, its layers in the order they run.

Serving runs without gradients and in the device's fast precision; explanations need the first and no rounding.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from affect.errors import BackendError, ErrorCode
from affect.inference.calibration import power_scaled
from affect.inference.checkpoint import InputSpec
from affect.inference.classify import normalise, probabilities
from affect.inference.optional import calibration_of, network_of
from affect.labels import EMOTIONS
from affect.pictures import FaceClassifier

SMALLEST_MAP = 3
"""Side in cells below which a layer's map says nothing about places."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer: its name in the network, what it is, its output [1, C, H, W], whether it convolves."""

    name: str
    kind: str
    output: torch.Tensor
    convolves: bool


class Opened:
    """A backend's network.

    Args:
        classifier: From `affect.pictures.load_backend`.
        name: What to call it in messages.

    Raises:
        BackendError: The backend is no torch network with convolutions.
    """

    def __init__(self, classifier: FaceClassifier, name: str) -> None:
        backend = classifier.backend
        model = network_of(backend)
        if model is None or not any(isinstance(m, nn.Conv2d) for m in model.modules()):
            raise BackendError(
                f"backend {name!r} ({type(backend).__name__}) has no torch network with 2-d convolutions to look into; "
                "of an ensemble, explain its members one by one; of an ONNX file, the weights it was exported from",
                code=ErrorCode.BACKEND_UNAVAILABLE,
            )
        self.name, self.model = name, model.eval()
        self.spec: InputSpec = backend.input
        self.calibration = calibration_of(backend)
        self.device = classifier.device.torch
        self._backend = backend

    def logits(self, crops: torch.Tensor) -> torch.Tensor:
        """Return what the network puts out, logits before their calibration [N, 7], of crops [N, C, S, S], 0-1.

        Differentiable.
        """
        logits: torch.Tensor = self.model(normalise(crops, self._backend))
        return logits

    def probabilities(self, crops: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities [N, 7] of crops [N, C, S, S], 0-1; differentiable."""
        return probabilities(power_scaled(self.logits(crops), self.calibration.power), self.calibration.temperature)

    def blank(self) -> torch.Tensor:
        """Return one crop of mid-grey, [1, C, S, S], 0-1."""
        return torch.full((1, self.spec.channels, self.spec.size, self.spec.size), 0.5, device=self.device)

    def trace(self, crop: torch.Tensor) -> list[Call]:
        """Run one crop [1, C, S, S] and return every call that put out a picture, in the order they ended."""
        calls: list[Call] = []
        handles: list[RemovableHandle] = []
        for name, module in self.model.named_modules():

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                if isinstance(output, torch.Tensor) and output.ndim == 4 and len(output) == 1:
                    kept = output.detach().clone()  # a later layer may work in place
                    calls.append(Call(name, type(module).__name__, kept, isinstance(module, nn.Conv2d)))

            if name:
                handles.append(module.register_forward_hook(note))
        try:
            with torch.no_grad():
                self.logits(crop)
        finally:
            for handle in handles:
                handle.remove()
        return calls

    def with_places(self, layer: str | None) -> str:
        """Return a layer that Grad-CAM can look at: the one named, or what became of the last convolution.

        Raises:
            BackendError: There is no such layer, or its output has no places, or it is called more than once.
        """
        if layer is None:
            return self.stages(self.blank(), once=True)[-1][1].name
        names = [call.name for call in self.trace(self.blank()) if min(call.output.shape[2:]) >= SMALLEST_MAP]
        if names.count(layer) != 1:
            known = ", ".join(name for name in dict.fromkeys(names) if names.count(name) == 1)
            raise BackendError(f"backend {self.name!r}: --layer {layer!r} has no map of places; these have: {known}")
        return layer

    def stages(self, crop: torch.Tensor, *, once: bool = False) -> list[tuple[Call, Call]]:
        """Return (convolution, what became of it) for each convolution whose output still has places.

        What became of it is the last output of the same shape before the next convolution ended: after norm and
        activation, and after the sum of a residual block.

        Args:
            crop: [1, C, S, S].
            once: Take only layers that are called once, as hooks of captum need it.
        """
        calls = self.trace(crop)
        names = [call.name for call in calls]
        stages: list[tuple[Call, Call]] = []
        for k, call in enumerate(calls):
            if not _places(call) or (once and names.count(call.name) > 1):
                continue
            became = call
            for later in calls[k + 1 :]:
                if _places(later):
                    break
                if later.output.shape == call.output.shape and (not once or names.count(later.name) == 1):
                    became = later
            stages.append((call, became))
        if not stages:
            raise BackendError(f"backend {self.name!r}: no convolution puts out a map of {SMALLEST_MAP}x{SMALLEST_MAP}")
        return stages

    def first_filters(self) -> tuple[str, torch.Tensor]:
        """Return name and kernels [O, I, k, k] of the convolution that runs first."""
        (first, _), *_ = self.stages(self.blank())
        module = self.model.get_submodule(first.name)
        assert isinstance(module, nn.Conv2d)
        return first.name, module.weight.detach().cpu()

    def layer(self, name: str) -> nn.Module:
        """Return a layer by its name.

        Raises:
            BackendError: There is none of this name; lists those that could be meant.
        """
        try:
            return self.model.get_submodule(name)
        except AttributeError:
            known = ", ".join(call.name for call, _ in self.stages(self.blank()))
            raise BackendError(
                f"backend {self.name!r} has no layer {name!r}; its convolutions: {known}", code=ErrorCode.UNKNOWN_NAME
            ) from None

    def seen(self) -> tuple[int, int, int, int]:
        """Return the box (x0, y0, x1, y1) of the input that can change the output: some networks cut their margin."""
        crop = torch.rand(4, *self.blank().shape[1:], generator=torch.Generator().manual_seed(0)).to(self.device)
        crop.requires_grad_()
        (gradient,) = torch.autograd.grad(self.logits(crop).square().sum(), crop)
        touched = gradient.abs().sum(dim=(0, 1)) > 0
        if not bool(touched.any()):
            return 0, 0, self.spec.size, self.spec.size
        rows, columns = touched.any(dim=1).nonzero().flatten().tolist(), touched.any(dim=0).nonzero().flatten().tolist()
        return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1

    def emotion_of(self, crop: torch.Tensor) -> int:
        """Return the number of the most probable emotion of one crop [1, C, S, S]."""
        with torch.no_grad():
            return int(self.logits(crop)[0].argmax())


def _places(call: Call) -> bool:
    """Whether this is a convolution over places; those of squeeze-and-excitation work on a single cell."""
    return call.convolves and min(call.output.shape[2:]) >= SMALLEST_MAP


def describe(probabilities: torch.Tensor) -> dict[str, float]:
    """Return {emotion: probability} of one row [7]."""
    return {e.value: round(float(p), 4) for e, p in zip(EMOTIONS, probabilities, strict=True)}
