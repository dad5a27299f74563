import hashlib
import json

import pytest
import torch

from affect.inference.checkpoint import InputSpec
from affect.inference.voting import Ballot, Vote, fingerprint, voted
from affect.types import Calibration
from affect.vision.geometry import FER2013_CROP

INPUT = InputSpec(size=48, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP)


def test_soft_vote_is_the_mean() -> None:
    p = torch.rand(3, 5, 7).softmax(2)
    torch.testing.assert_close(voted(p, [1, 1, 1], "soft"), p.mean(0))


def test_weighted_vote_is_the_weighted_mean_whatever_the_weights_sum_to() -> None:
    p = torch.rand(2, 5, 7).softmax(2)
    torch.testing.assert_close(voted(p, [6, 2], "weighted"), 0.75 * p[0] + 0.25 * p[1])


def test_majority_overrules_certainty_and_the_mean_decides_ties() -> None:
    sure, unsure = torch.zeros(7), torch.full((7,), 0.1)
    sure[3], unsure[0] = 1.0, 0.4
    assert int(voted(torch.stack([sure, unsure, unsure])[:, None], [1, 1, 1], "majority").argmax()) == 0
    assert int(voted(torch.stack([sure, unsure])[:, None], [1, 1], "majority").argmax()) == 3


@pytest.mark.parametrize("vote", ["soft", "weighted", "majority"])
def test_every_vote_is_a_distribution(vote: Vote) -> None:
    p = torch.rand(4, 5, 7).softmax(2)
    torch.testing.assert_close(voted(p, [1, 2, 3, 4], vote).sum(1), torch.ones(5))


def test_a_fingerprint_does_not_care_how_a_number_is_written() -> None:
    whole, real = Ballot("a", Calibration(1, 1), INPUT, 2, 1), Ballot("a", Calibration(1.0, 1.0), INPUT, 2.0, 1.0)
    assert fingerprint([whole], "soft", mirror=True) == fingerprint([real], "soft", mirror=True)
    assert fingerprint([whole], "soft", mirror=True) != fingerprint([whole], "soft", mirror=False)


def test_a_fingerprint_follows_the_power_and_is_the_older_one_without() -> None:
    plain, raised = Ballot("a", Calibration(2, 1), INPUT, 1, 1), Ballot("a", Calibration(2, 1.5), INPUT, 1, 1)
    assert fingerprint([plain], "soft", mirror=True) != fingerprint([raised], "soft", mirror=True)
    asked = [["a"], [[2.0, INPUT.model_dump(mode="json")]], [[1.0, 1.0]], "soft", True]
    assert fingerprint([plain], "soft", mirror=True) == hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def test_a_member_that_cannot_be_told_from_others_leaves_no_fingerprint() -> None:
    known, unknown = Ballot("a", Calibration(1, 1), INPUT, 1, 1), Ballot(None, Calibration(1, 1), INPUT, 1, 1)
    assert fingerprint([known, unknown], "soft", mirror=False) is None
