"""The device and its habits: which one, which precision, which memory layout.

Precision is decided by what the hardware is good at: bfloat16 where the CPU has AMX or AVX512-BF16 and on CUDA
devices that support it, float32 elsewhere. Measured on 2 AVX512-BF16 cores (torch 2.14, batch 256, Nguyen's
network, images/s forward): float32 1,640, + channels_last 2,260, bfloat16 2,620, both 7,510.
"""

import contextlib
import copy
import logging
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import nn

from affect.errors import SettingsError

log = logging.getLogger(__name__)

Precision = Literal["auto", "bfloat16", "float32"]


def cpu_features() -> dict[str, bool]:
    """Return which matrix extensions of the CPU torch sees."""
    probes = {
        "avx512_bf16": "_is_avx512_bf16_supported",
        "amx_tile": "_is_amx_tile_supported",
        "avx512": "_is_avx512_supported",
        "avx2": "_is_avx2_supported",
    }
    return {name: bool(getattr(torch.cpu, probe, bool)()) for name, probe in probes.items()}


def resolve_device(name: str) -> str:
    """Turn `auto | cpu | cuda | cuda:N` into `cpu` or `cuda:N`.

    Raises:
        SettingsError: The name is none of these, or the CUDA device is not there or cannot be used.
    """
    if name == "auto":
        if not torch.cuda.device_count():
            return "cpu"
        if reason := why_unusable("cuda:0"):
            log.warning("cuda:0 cannot be used (%s); taking the CPU", reason)
            return "cpu"
        return "cuda:0"
    if name == "cpu":
        return "cpu"
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise SettingsError(f"device is auto, cpu or cuda:N, not {name!r}")
    count, number = torch.cuda.device_count(), int(index or 0)  # of the driver; torch may be unable to use them
    if number >= count:
        raise SettingsError(f"device {name!r}: this machine has {count} CUDA device(s); use auto or cpu")
    if reason := why_unusable(f"cuda:{number}"):
        raise SettingsError(f"device {name!r} cannot be used: {reason}")
    return f"cuda:{number}"


def why_unusable(device: str) -> str:
    """Return why nothing can be computed there, or "": a GPU may be too old for this torch, full, or taken."""
    try:
        torch.ones(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError) as exc:
        return str(exc).strip().partition("\n")[0]
    return ""


class Device:
    """Where tensors live and how arithmetic is done there.

    Args:
        name: `auto | cpu | cuda:N`.
        precision: `auto` takes bfloat16 where it is fast. `float32` on a GPU leaves torch's own choice for
            convolutions as it is, which is TF32 on Ampere and later.
    """

    def __init__(self, name: str = "auto", precision: Precision = "auto") -> None:
        self.name = resolve_device(name)
        self.torch = torch.device(self.name)
        if precision == "auto":
            if self.is_cuda:
                newer = torch.cuda.get_device_properties(self.torch).major >= 8  # of this GPU, not of the current one
                fast = newer or torch.version.hip is not None
            else:
                features = cpu_features()
                fast = features["amx_tile"] or features["avx512_bf16"]
            precision = "bfloat16" if fast else "float32"
        self.precision: Precision = precision

    @property
    def is_cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.torch.type == "cuda"

    @property
    def description(self) -> str:
        """Name, model and precision, for logs and `affect doctor`."""
        if self.is_cuda:
            return f"{self.name} ({torch.cuda.get_device_name(self.torch)}), {self.precision}"
        found = [name for name, there in cpu_features().items() if there]
        return f"cpu ({torch.get_num_threads()} threads, {' '.join(found) or 'no extensions'}), {self.precision}"

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which matrix work runs in this device's precision."""
        if self.precision == "bfloat16":
            return torch.autocast(self.torch.type, torch.bfloat16)
        return contextlib.nullcontext()

    def layout(self, images: torch.Tensor) -> torch.Tensor:
        """Return [N, C, H, W] in channels-last memory, which convolutions here prefer."""
        return images.contiguous(memory_format=torch.channels_last)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network here, in channels-last memory."""
        return model.to(self.torch, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def rounded(self, model: nn.Module) -> nn.Module:
        """Return a copy whose convolutions and dense layers hold their weights in this device's precision.

        In `autocast` the answers are the same to the last bit; it need not round all weights at every call, which at
        batch 1 took half of the time of a network of 5 M parameters. With float32 the network itself is returned.
        """
        if self.precision == "float32":
            return model
        copied = copy.deepcopy(model)
        for module in copied.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)
        return copied
