"""Running members: one after the other, or those of one network stacked into a single pass."""

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from affect.errors import AffectError, BackendError, SettingsError
from affect.inference.backend import Backend
from affect.inference.checkpoint import InputSpec
from affect.inference.classify import probabilities
from affect.inference.device import Device
from affect.inference.from_weights import arguments_of
from affect.inference.torch_backend import TorchBackend

log = logging.getLogger(__name__)

_Tensors = dict[str, torch.Tensor]

Affine = tuple[torch.Tensor, torch.Tensor] | None
"""Factor and offset [C, 1, 1] from the ensemble's normalisation to a member's; None where they are the same."""


def common_input(members: Sequence[Backend], names: Sequence[str]) -> InputSpec:
    """Return the input that all members share; the normalisation is the first member's.

    Raises:
        SettingsError: Size, channels or crop differ; names the two members.
    """
    first = members[0].input
    for member, name in zip(members[1:], names[1:], strict=True):
        other = member.input
        for what in ("size", "channels"):
            if getattr(first, what) != getattr(other, what):
                raise SettingsError(
                    f"plugins.ensemble: members see the same crop, but the {what} of {names[0]} is "
                    f"{getattr(first, what)} and that of {name} is {getattr(other, what)}"
                )
        if not np.allclose(first.crop.points(), other.crop.points(), atol=1e-4):
            raise SettingsError(
                f"plugins.ensemble: members see the same crop, but {names[0]} and {name} place the face differently "
                f"({first.crop.source}; {other.crop.source})"
            )
    return first


def renormalisation(ours: InputSpec, theirs: InputSpec, device: torch.device) -> Affine:
    """Return what turns a face normalised for the ensemble into one normalised for a member."""
    if (ours.mean, ours.std) == (theirs.mean, theirs.std):
        return None
    mean, std, other_mean, other_std = (
        torch.tensor(numbers, device=device).view(-1, 1, 1)
        for numbers in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    return std / other_std, (mean - other_mean) / other_std


def _moved(faces: torch.Tensor, affine: Affine) -> torch.Tensor:
    return faces if affine is None else faces * affine[0] + affine[1]


class Part(Protocol):
    """Some members.

    Attributes:
        places: Their numbers in the ensemble.
    """

    @property
    def places(self) -> tuple[int, ...]:
        """Their numbers in the ensemble."""
        ...

    def ask(self, faces: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities [members of this part, N, 7]."""
        ...

    def close(self) -> None:
        """Release memory."""
        ...


class Alone:
    """One member, whatever it is made of."""

    def __init__(self, place: int, name: str, member: Backend, affine: Affine) -> None:
        self.places, self._name, self._member, self._affine = (place,), name, member, affine

    places: tuple[int, ...]

    def ask(self, faces: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities [1, N, 7].

        Raises:
            BackendError: The member failed; names it.
        """
        try:
            logits = self._member.predict(_moved(faces, self._affine))
        except AffectError:
            raise
        except Exception as exc:
            raise BackendError(f"member {self._name} raised {type(exc).__name__}: {exc}") from exc
        return probabilities(logits, self._member.temperature)[None]

    def close(self) -> None:
        """Close the member."""
        self._member.close()


class Stacked:
    """Members of one network: their weights are stacked, and `vmap` runs all in one pass.

    Measured with 3 members on one core (AVX512-BF16, torch 2.14, bfloat16, batch 1 / 8 / 32): Nguyen's network 11 / 45
    / 186 ms against 7 / 18 / 42 ms one after the other; a residual network of 32-256 channels 33 / 103 / 433 against
    18 / 63 / 229. Grouped convolutions are slow on a CPU, so this is for CUDA, where launching kernels is what a small
    batch waits for.
    """

    def __init__(self, places: Sequence[int], members: Sequence[TorchBackend], affines: Sequence[Affine]) -> None:
        self.places = tuple(places)
        self._device = members[0].device
        self._finish = [(member.logits_of, member.temperature) for member in members]
        networks = [member.model for member in members]
        self._parameters, self._buffers = stack_module_state(networks)
        skeleton = copy.deepcopy(networks[0]).to("meta")
        self._affines = affines

        def one(parameters: _Tensors, buffers: _Tensors, faces: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = functional_call(skeleton, (parameters, buffers), (faces,))
            return logits

        self._shared = all(_same(affine, affines[0]) for affine in affines)
        self._run: Callable[..., torch.Tensor] = vmap(one, in_dims=(0, 0, None if self._shared else 0))

    places: tuple[int, ...]

    def ask(self, faces: torch.Tensor) -> torch.Tensor:
        """Return calibrated probabilities [members of this part, N, 7]."""
        if self._shared:
            given = self._device.layout(_moved(faces, self._affines[0]))
        else:
            given = torch.stack([_moved(faces, affine) for affine in self._affines])
        with self._device.autocast():
            outputs = self._run(self._parameters, self._buffers, given)
        return torch.stack([probabilities(of(row), t) for row, (of, t) in zip(outputs, self._finish, strict=True)])

    def close(self) -> None:
        """Drop the weights."""
        self._parameters, self._buffers = {}, {}


def _same(first: Affine, second: Affine) -> bool:
    if first is None or second is None:
        return first is second
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _stacked(
    places: Sequence[int], members: Sequence[TorchBackend], affines: Sequence[Affine], ours: InputSpec
) -> Stacked | None:
    """Stack members and try two faces; None where `vmap` does not know an operation of the network."""
    part = Stacked(places, members, affines)
    try:
        part.ask(torch.zeros(2, ours.channels, ours.size, ours.size, device=members[0].device.torch))
    except Exception as exc:  # whatever it is: one after the other works
        log.info("%s cannot be stacked: %s", type(members[0].model).__name__, exc)
        part.close()
        return None
    for member in members:
        member.close()
    return part


def parts_of(
    members: Sequence[Backend], names: Sequence[str], ours: InputSpec, device: Device, *, stacked: bool
) -> list[Part]:
    """Put members into parts; with `stacked`, those of equal network and arguments into one."""
    affines = [renormalisation(ours, member.input, device.torch) for member in members]
    groups: list[list[int]] = []
    for k, member in enumerate(members):
        twin = next((group for group in groups if stacked and _stackable(members[group[0]], member)), None)
        if twin is None:
            groups.append([k])
        else:
            twin.append(k)
    parts: list[Part] = []
    for group in groups:
        networks = [member for k in group if isinstance(member := members[k], TorchBackend)]
        together = _stacked(group, networks, [affines[k] for k in group], ours) if len(group) > 1 else None
        parts += [together] if together else [Alone(k, names[k], members[k], affines[k]) for k in group]
    return parts


def _stackable(first: Backend, second: Backend) -> bool:
    return (
        type(first) is TorchBackend
        and type(second) is TorchBackend
        and type(first.model) is type(second.model)
        and dict(arguments_of(first.sidecar)) == dict(arguments_of(second.sidecar))
        and _shapes(first.model) == _shapes(second.model)
    )


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
