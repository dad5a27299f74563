"""The answers of several backends become one: how members vote, and what tells one ensemble from another.

The backend `ensemble` serves by this and `affect-train ensemble` searches by it, so that both give the same answer.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from affect.inference.checkpoint import InputSpec
from affect.types import Calibration

Vote = Literal["soft", "weighted", "majority"]


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


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a member brings into a vote.

    Attributes:
        identity: sha256 of its weights file, or its own fingerprint; None when it has neither.
        calibration, input: Of the member.
        weight: In the vote.
        vote_temperature: Of the vote of the members up to this one.
    """

    identity: str | None
    calibration: Calibration
    input: InputSpec
    weight: float
    vote_temperature: float


def fingerprint(ballots: Sequence[Ballot], vote: Vote, *, mirror: bool) -> str | None:
    """Return a hash that changes whenever an answer of the ensemble may; None when a member has no identity."""
    prints = [ballot.identity for ballot in ballots]
    if None in prints:
        return None
    asked = [[*ballot.calibration.numbers(), ballot.input.model_dump(mode="json")] for ballot in ballots]
    votes = [[float(ballot.weight), float(ballot.vote_temperature)] for ballot in ballots]
    return hashlib.sha256(json.dumps([prints, asked, votes, vote, mirror]).encode()).hexdigest()
