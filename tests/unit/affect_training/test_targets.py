from typing import Any

import numpy as np
import pytest
import torch
from affect_training.config import TrainConfig
from affect_training.data import Split
from affect_training.losses import cross_entropy, distillation, l2_svm, one_hot
from affect_training.targets import Objective, Targets
from sklearn.utils.class_weight import compute_class_weight

from affect.errors import SettingsError

CPU = torch.device("cpu")
LABELS = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 6], np.int64)
LOGITS = torch.randn(10, 7, generator=torch.Generator().manual_seed(1))
BOTH = torch.randn(10, 2, 7, generator=torch.Generator().manual_seed(2))
VOTES = torch.softmax(torch.randn(10, 7, generator=torch.Generator().manual_seed(3)), 1)
VOTES[4:6] = 0  # no vote counted


def table(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "batch_size": 10, "lr": 0.1, **changes})


def split(**fields: Any) -> Split:
    return Split(np.zeros((10, 48, 48), np.uint8), LABELS, np.arange(10), **fields)


def loss(logits: torch.Tensor, teacher: torch.Tensor | None = None, **changes: Any) -> float:
    config = table(**changes)
    of = split(votes=VOTES.numpy())
    targets = Targets.of(of, config, None if teacher is None else teacher.numpy())
    return float(Objective(config, LABELS, CPU)(logits, targets))


def label(smoothing: float = 0.0) -> torch.Tensor:
    return one_hot(torch.from_numpy(LABELS), 7, smoothing)


# Targets


def test_targets_of_a_split() -> None:
    found = Targets.of(split(), table(label_smoothing=0.2), None)
    assert torch.equal(found.label, label(0.2))
    assert (found.votes, found.teacher) == (None, None)
    assert found.weight.tolist() == [1.0] * 10
    weighed = Targets.of(split(weights=np.linspace(0, 1, 10, dtype=np.float32)), table(), None)
    assert weighed.weight[9] == 1
    assert weighed.weight[0] == 0


def test_votes_count_only_when_the_loss_wants_them() -> None:
    assert Targets.of(split(votes=VOTES.numpy()), table(), None).votes is None
    assert Targets.of(split(votes=VOTES.numpy()), table(votes_weight=0.5), None).votes is not None
    with pytest.raises(SettingsError, match=r"wants FER\+ votes: set data\.votes = true, with fer2013new\.csv there"):
        Targets.of(split(), table(votes_weight=0.5), None)


def test_rows_are_taken_and_mixed_with_all_they_have() -> None:
    teacher = np.tile(np.linspace(0, 1, 10, dtype=np.float32)[:, None], (1, 7))
    whole = Targets.of(split(votes=VOTES.numpy()), table(votes_weight=0.5), teacher)
    some = whole.take(torch.tensor([9, 4, 4]), CPU)
    assert some.label.argmax(1).tolist() == [6, 2, 2]
    assert some.votes is not None
    assert some.teacher is not None
    assert torch.equal(some.votes, VOTES[[9, 4, 4]])
    assert some.teacher[:, 0].tolist() == pytest.approx([1, 4 / 9, 4 / 9])
    mixed = some.mix(torch.tensor([1, 0, 2]), 0.75)
    assert mixed.label[0].tolist() == [0, 0, 0.25, 0, 0, 0, 0.75]
    assert mixed.label[2].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert mixed.votes is not None
    assert mixed.teacher is not None
    torch.testing.assert_close(mixed.votes[0], 0.75 * VOTES[9])
    assert mixed.teacher[0, 0].item() == pytest.approx(0.75 + 0.25 * 4 / 9)


def test_mixed_faces_have_a_say_by_share_and_weight() -> None:
    some = Targets(one_hot(torch.tensor([0, 1]), 7, 0.0), None, None, torch.tensor([1.0, 0.5]))
    mixed = some.mix(torch.tensor([1, 0]), 0.5)
    assert mixed.weight.tolist() == [0.75, 0.75]
    torch.testing.assert_close((mixed.label * mixed.weight[:, None])[0, :2], torch.tensor([0.5, 0.25]))


# The loss


def test_the_loss_is_the_mean_over_the_batch() -> None:
    assert loss(LOGITS) == pytest.approx(float(cross_entropy(LOGITS, label(), None).mean()))
    assert loss(LOGITS, loss="l2_svm") == pytest.approx(float(l2_svm(LOGITS, label(), None).mean()))


def test_faces_count_as_much_as_their_weight() -> None:
    config = table()
    of = split(weights=np.array([1.0] * 5 + [0.25] * 5, np.float32))
    found = float(Objective(config, LABELS, CPU)(LOGITS, Targets.of(of, config, None)))
    each = cross_entropy(LOGITS, label(), None)
    assert found == pytest.approx(float((each[:5].sum() + each[5:].sum() * 0.25) / 10))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    weights = compute_class_weight("balanced", classes=np.arange(7), y=LABELS)
    expected = cross_entropy(LOGITS, label(), torch.from_numpy(weights).float()).mean()
    assert loss(LOGITS, class_weights="balanced") == pytest.approx(float(expected))


def test_logits_are_adjusted_by_the_prior_in_training() -> None:
    prior = torch.tensor([3, 1, 1, 1, 1, 1, 2]) / 10
    balanced_softmax = cross_entropy(LOGITS + prior.log(), label(), None).mean()
    assert loss(LOGITS, logit_adjustment=1.0) == pytest.approx(float(balanced_softmax))
    half = cross_entropy(LOGITS + 0.5 * prior.log(), label(), None).mean()
    assert loss(LOGITS, logit_adjustment=0.5) == pytest.approx(float(half))


def test_an_adjustment_by_a_class_without_faces_is_finite() -> None:
    config = table(logit_adjustment=1.0, class_weights="balanced")
    objective = Objective(config, np.array([0, 1, 2], np.int64), CPU)
    found = objective(LOGITS, Targets.of(split(), config, None))
    assert bool(found.isfinite())


def test_one_head_learns_label_and_votes_as_one_target() -> None:
    target = 0.6 * label() + 0.4 * VOTES
    target[4:6] = label()[4:6]  # what nobody voted on is left to its label
    assert loss(LOGITS, votes_weight=0.4) == pytest.approx(float(cross_entropy(LOGITS, target, None).mean()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_of_two_heads_the_second_learns_the_votes(smoothing: float) -> None:
    first = cross_entropy(BOTH[:, 0], label(smoothing), None)
    second = cross_entropy(BOTH[:, 1], VOTES, None)  # nothing where there is no vote
    assert second[4:6].tolist() == [0, 0]
    found = loss(BOTH, votes_weight=0.4, label_smoothing=smoothing)
    voted = VOTES.sum(1)  # the label has all of a face that nobody voted on
    assert found == pytest.approx(float(((1 - 0.4 * voted) * first + 0.4 * second).mean()))


def test_the_second_head_is_left_alone_by_faces_without_votes() -> None:
    both = BOTH.clone().requires_grad_()
    config = table(votes_weight=0.4, loss="l2_svm")
    Objective(config, LABELS, CPU)(both, Targets.of(split(votes=VOTES.numpy()), config, None)).backward()  # type: ignore[no-untyped-call]
    assert both.grad is not None
    assert not both.grad[4:6, 1].any()
    assert both.grad[4:6, 0].any()
    assert both.grad[:4, 1].any()


def test_two_heads_without_votes_learn_the_label_alone() -> None:
    assert loss(BOTH) == pytest.approx(loss(BOTH[:, 0]))


@pytest.mark.parametrize("logits", [LOGITS, BOTH], ids=["one head", "two heads"])
def test_a_face_mixed_with_one_without_votes_has_its_share_of_them(logits: torch.Tensor) -> None:
    config = table(votes_weight=0.4)
    mixed = Targets.of(split(votes=VOTES.numpy()), config, None).mix(torch.tensor([4] * 10), 0.75)
    found = float(Objective(config, LABELS, CPU)(logits, mixed))
    target = 0.75 * label() + 0.25 * label()[4]
    votes = 0.75 * VOTES
    if logits.ndim == 3:
        first, second = cross_entropy(logits[:, 0], target, None), cross_entropy(logits[:, 1], votes, None)
        expected = (1 - 0.4 * votes.sum(1)) * first + 0.4 * second
    else:
        # The distribution keeps its sum, 1.
        share = 0.4 * votes.sum(1, keepdim=True)
        assert (target * (1 - share) + 0.4 * votes).sum(1).tolist() == pytest.approx([1] * 10)
        expected = cross_entropy(logits, target * (1 - share) + 0.4 * votes, None)
    assert found == pytest.approx(float(expected.mean()), rel=1e-5)


@pytest.mark.parametrize("logits", [LOGITS, BOTH], ids=["one head", "two heads"])
def test_a_teacher_shares_in_the_loss_of_the_first_head(logits: torch.Tensor) -> None:
    teacher = torch.softmax(LOGITS.flip(0), 1)
    first = logits if logits.ndim == 2 else logits[:, 0]
    taught = distillation(first, teacher, 3.0)
    found = loss(logits, teacher, teacher_weight=0.7, teacher_temperature=3.0)
    assert found == pytest.approx(float((0.3 * cross_entropy(first, label(), None) + 0.7 * taught).mean()))
    assert loss(logits, teacher, teacher_weight=0.0) == pytest.approx(loss(logits))
