"""Losses against target distributions [N, 7]; every one returns a value a face, [N]."""

from typing import Literal

import torch
from torch.nn import functional

Loss = Literal["cross_entropy", "l2_svm", "focal"]


def one_hot(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """Return float32 [N, classes]: 1 - smoothing on the label, the rest spread evenly over all (Szegedy 2016)."""
    return functional.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor:
    """Soft-target cross-entropy [N]; class weights multiply the terms."""
    terms = -target * functional.log_softmax(logits, dim=1)
    return (terms if class_weights is None else terms * class_weights).sum(1)


def focal(logits: torch.Tensor, target: torch.Tensor, class_weights: torch.Tensor | None, gamma: float) -> torch.Tensor:
    """Focal loss [N] (Lin 2017), soft targets: each term times (1 - p)^gamma."""
    log_p = functional.log_softmax(logits, dim=1)
    missing = (-torch.expm1(log_p)).clamp(min=1e-7)  # a root of zero has no gradient
    terms = -target * missing**gamma * log_p
    return (terms if class_weights is None else terms * class_weights).sum(1)


def l2_svm(logits: torch.Tensor, target: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor:
    """One-against-rest squared hinge [N] (Tang 2013), which won the FER2013 contest; soft targets in expectation.

    Class weights multiply the whole of a face by its class's: each face is in the terms of all classes.
    """
    terms = target * (1 - logits).clamp(min=0) ** 2 + (1 - target) * (1 + logits).clamp(min=0) ** 2
    return terms.sum(1) if class_weights is None else (target * class_weights).sum(1) * terms.sum(1)


def loss_of(
    kind: Loss, logits: torch.Tensor, target: torch.Tensor, class_weights: torch.Tensor | None, gamma: float
) -> torch.Tensor:
    """Return the named loss [N]."""
    if kind == "focal":
        return focal(logits, target, class_weights, gamma)
    return (l2_svm if kind == "l2_svm" else cross_entropy)(logits, target, class_weights)


def distillation(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy [N] with a teacher's probabilities [N, 7], both softened, times T^2 (Hinton 2015)."""
    soft = functional.softmax(teacher.clamp(min=1e-6).log() / temperature, dim=1)
    return -(soft * functional.log_softmax(logits / temperature, dim=1)).sum(1) * temperature**2
