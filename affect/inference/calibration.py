"""The power of a calibration; the temperature belongs to every backend.

Temperature scaling (Guo et al. 2017) cannot mend a network that is too sure in the middle and not sure enough at the
top, as label smoothing and margin losses make it. Raising its surprisal to a power can, and keeps the order of the
emotions (an intra order-preserving function, Rahimi et al. 2020), so that no guess about a single view changes.
"""

import math

import torch

from affect.types import Calibration

MIN_SURPRISAL = 1e-6
"""Nats; below it float32 has no difference, and a power under 1 no finite gradient."""


def power_scaled(outputs: torch.Tensor, power: float) -> torch.Tensor:
    """Return logits [N, 7], float32, whose size is the surprisal -log softmax of the outputs [N, 7] to a power.

    Divided by the temperature that was fitted with this power, they are calibrated. A power of 1 changes nothing.
    """
    outputs = outputs.float()
    if power == 1:
        return outputs
    return -outputs.log_softmax(dim=1).neg().clamp_min(MIN_SURPRISAL).pow(power)


def same_calibration(one: Calibration | None, other: Calibration | None) -> bool:
    """Whether two calibrations are the same but for what a fit on another machine differs by (2 %).

    None is what files older than the power have: it goes with any calibration whose power is 1.
    """
    if one is None or other is None:
        known = one or other
        return known is None or known.power == 1
    return all(math.isclose(a, b, rel_tol=0.02) for a, b in zip(one, other, strict=True))
