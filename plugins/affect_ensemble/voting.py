"""From the members' probabilities to one distribution."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from affect_ensemble.manifest import Vote


def voted(probabilities: torch.Tensor, weights: Sequence[float], vote: Vote) -> torch.Tensor:
    """Let the members vote.

    Args:
        probabilities: float [M, N, 7], calibrated.
        weights: M numbers, used by the weighted vote.
        vote: soft: their mean. weighted: their weighted mean. majority: the share of members whose first choice an
            emotion is, mixed with just so little of the mean that it decides ties and nothing else.

    Returns:
        float [N, 7], rows sum to 1.
    """
    count, _, classes = probabilities.shape
    if vote == "weighted":
        shares = torch.tensor(weights, dtype=probabilities.dtype, device=probabilities.device)
        return torch.einsum("m,mnk->nk", shares / shares.sum(), probabilities)
    mean = probabilities.mean(0)
    if vote == "soft":
        return mean
    voices = functional.one_hot(probabilities.argmax(2), classes).to(mean.dtype).mean(0)
    # One voice more is (1 - share) / M, and the means differ by less than 1: below 1 / (M + 1) no voice is overruled.
    share = 1 / (count + 2)
    return (1 - share) * voices + share * mean
