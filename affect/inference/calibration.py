"""The second number of the calibration; the first, the temperature, belongs to every backend.

Temperature scaling (Guo et al. 2017) cannot mend a network that is too sure in the middle and not sure enough at the
top, as label smoothing and margin losses make it. Raising its surprise to a power can, and keeps the order of the
emotions (an intra order-preserving function, Rahimi et al. 2020), so that no guess about a single view changes.
"""

import math
from collections.abc import Sequence

import torch

LEAST_SURPRISE = 1e-6
"""Nats; below it float32 has no difference, and a power under 1 no finite gradient."""


def raised(logits: torch.Tensor, power: float) -> torch.Tensor:
    """Return logits [N, 7], float32, whose size is the surprise -log softmax(logits) to a power.

    Divided by the temperature that was fitted with this power, they are calibrated. A power of 1 changes nothing.
    """
    logits = logits.float()
    if power == 1:
        return logits
    return -logits.log_softmax(dim=1).neg().clamp_min(LEAST_SURPRISE).pow(power)


def alike(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Whether two calibrations (temperature, power) are the same but for what a fit on another machine differs by.

    One that is not known is of a time before there were powers, and like any that has none.
    """
    if one is None or other is None:
        known = one or other
        return known is None or known[1] == 1
    return all(math.isclose(a, b, rel_tol=0.02) for a, b in zip(one, other, strict=True))
