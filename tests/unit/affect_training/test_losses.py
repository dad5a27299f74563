import pytest
import torch
from affect_training.losses import cross_entropy, distillation, focal, l2_svm, loss_of, one_hot
from torch.nn import functional

LOGITS = torch.randn(9, 7, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.arange(9) % 7
WEIGHTS = torch.linspace(0.5, 2, 7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_that_of_torch(smoothing: float, weighted: bool) -> None:
    weights = WEIGHTS if weighted else None
    ours = cross_entropy(LOGITS, one_hot(LABELS, 7, smoothing), weights)
    theirs = functional.cross_entropy(LOGITS, LABELS, weights, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)


def test_smoothed_labels_are_distributions() -> None:
    target = one_hot(torch.tensor([2]), 7, 0.1)
    assert target.sum().item() == pytest.approx(1)
    assert target[0, 2].item() == pytest.approx(0.9 + 0.1 / 7)
    assert target[0, 0].item() == pytest.approx(0.1 / 7)
    assert one_hot(torch.tensor([2]), 7, 0.0).tolist() == [[0, 0, 1, 0, 0, 0, 0]]


def test_focal_loss_is_that_of_its_paper() -> None:
    p = torch.softmax(LOGITS, 1)[torch.arange(9), LABELS]
    torch.testing.assert_close(focal(LOGITS, one_hot(LABELS, 7, 0.0), None, 2.0), -((1 - p) ** 2) * p.log())


def test_focal_loss_without_gamma_is_cross_entropy() -> None:
    target = torch.softmax(torch.flip(LOGITS, [0]), 1)
    torch.testing.assert_close(focal(LOGITS, target, WEIGHTS, 0.0), cross_entropy(LOGITS, target, WEIGHTS))


def test_the_squared_hinge_is_that_of_tang() -> None:
    logits = torch.tensor([[2.0, -3.0, 0.5, -0.5, 0.0, -1.0, 1.0]])
    # The label's margin is met; of the rest those above -1 cost (1 + logit)^2.
    found = l2_svm(logits, one_hot(torch.tensor([0]), 7, 0.0), None)
    assert found.tolist() == pytest.approx([1.5**2 + 0.5**2 + 1 + 0 + 4])
    short = l2_svm(torch.tensor([[0.25, -1, -1, -1, -1, -1, -1]]), one_hot(torch.tensor([0]), 7, 0.0), None)
    assert short.tolist() == pytest.approx([0.75**2])


def test_class_weights_weigh_the_whole_squared_hinge_of_a_face() -> None:
    plain = l2_svm(LOGITS, one_hot(LABELS, 7, 0.0), None)
    weighted = l2_svm(LOGITS, one_hot(LABELS, 7, 0.0), WEIGHTS)
    torch.testing.assert_close(weighted, plain * WEIGHTS[LABELS])
    soft = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 0]])  # a mixed face has the mean weight of its classes
    mixed = l2_svm(LOGITS[:1], soft, WEIGHTS) / l2_svm(LOGITS[:1], soft, None)
    assert mixed.item() == pytest.approx((0.5 + 0.75) / 2)


def test_losses_by_name() -> None:
    target = one_hot(LABELS, 7, 0.1)
    for kind, expected in (
        ("cross_entropy", cross_entropy(LOGITS, target, WEIGHTS)),
        ("l2_svm", l2_svm(LOGITS, target, WEIGHTS)),
        ("focal", focal(LOGITS, target, WEIGHTS, 1.5)),
    ):
        assert torch.equal(loss_of(kind, LOGITS, target, WEIGHTS, 1.5), expected)  # type: ignore[arg-type]


# Distillation (Hinton 2015)


def test_at_temperature_one_distillation_is_soft_cross_entropy() -> None:
    teacher = torch.softmax(torch.flip(LOGITS, [0]), 1)
    torch.testing.assert_close(distillation(LOGITS, teacher, 1.0), cross_entropy(LOGITS, teacher, None))


def test_both_sides_are_softened_and_the_scale_of_the_gradient_is_kept() -> None:
    theirs = torch.flip(LOGITS, [0])
    soft, log_p = torch.softmax(theirs / 4, 1), torch.log_softmax(LOGITS / 4, 1)
    torch.testing.assert_close(
        distillation(LOGITS, torch.softmax(theirs, 1), 4.0), -(soft * log_p).sum(1) * 16, rtol=2e-3, atol=2e-3
    )


def test_the_teachers_own_logits_are_the_optimum() -> None:
    teacher = torch.softmax(LOGITS, 1)
    logits = LOGITS.clone().requires_grad_()
    distillation(logits, teacher, 2.0).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-2
    assert float(distillation(LOGITS, teacher, 2.0).sum()) < float(
        distillation(LOGITS + LOGITS.flip(1), teacher, 2.0).sum()
    )


def test_a_teacher_who_is_certain_gives_finite_losses() -> None:
    teacher = one_hot(LABELS, 7, 0.0)
    assert bool(distillation(LOGITS, teacher, 2.0).isfinite().all())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_learns_from_faces_it_is_sure_of(gamma: float) -> None:
    logits = torch.tensor([[60.0, 0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0, 0]], requires_grad=True)
    torch.autograd.backward(focal(logits, one_hot(torch.tensor([0, 0]), 7, 0.0), None, gamma).sum())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] < 0
