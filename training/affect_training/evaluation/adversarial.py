"""Accuracy under attack: the smallest change of every pixel that a knowing adversary needs.

FGSM (Goodfellow et al. 2015) takes one step along the sign of the gradient; PGD (Madry et al. 2018) ten, from a
random start. Both by `captum.robust`, on the crops (0-1) before normalisation, with the gradient in float32. The
attacked crops are then answered as served. Needs the network itself: other backends are refused.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from affect.errors import BackendError, MediaError
from affect.inference.classify import normalise
from affect.inference.torch_backend import TorchBackend
from affect.pictures import FaceClassifier, whole_faces
from affect_training.data import Split
from affect_training.evaluation.metrics import bootstrap_ci95
from affect_training.evaluation.robustness import sample

SAMPLE = 500
"""Faces under attack unless told otherwise: PGD costs as many passes through the network as it has steps."""

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Largest change of a pixel, in grey levels of 255."""

STEPS = 10
STEP_SHARE = 2.5
"""A PGD step is 2.5 epsilon / steps (Madry et al. 2018, section 5)."""

Attack = Literal["fgsm", "pgd"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """Accuracy when every pixel may change by epsilon (grey levels of 255)."""

    attack: Attack
    epsilon: float
    accuracy: float
    accuracy_ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Adversarial:
    """Accuracy without and with attacks, on how many faces."""

    n: int
    seed: int
    clean: float
    clean_ci95: tuple[float, float]
    attacks: tuple[AttackFigures, ...]


def check_attackable(classifier: FaceClassifier) -> TorchBackend:
    """Return the backend, which has a gradient to follow.

    Raises:
        BackendError: It is no torch network.
    """
    backend = classifier.backend
    if not isinstance(backend, TorchBackend):
        raise BackendError(
            f"FGSM and PGD follow the gradient of a network, which a {type(backend).__name__} does not give; "
            "they need a backend that is one torch network (TorchBackend)"
        )
    return backend


def adversarial(
    classifier: FaceClassifier,
    split: Split,
    *,
    limit: int | None = SAMPLE,
    epsilons: Sequence[float] = EPSILONS,
    steps: int = STEPS,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Adversarial:
    """Attack a classifier that is a torch network.

    Args:
        classifier: Its backend must be a `TorchBackend`.
        split: Where the faces come from.
        limit: At most so many of them.
        epsilons: Largest changes of a pixel, in grey levels of 255.
        steps: Of PGD.
        batch_size: Faces in one pass.
        seed: Of the sample and of PGD's random start.
        progress: Called before each attack with its name and epsilon.

    Raises:
        BackendError: The backend is no torch network, or no gradient reaches the pixels.
        MediaError: There are no faces.
    """
    backend = check_attackable(classifier)
    faces = sample(split, limit, seed)
    if not len(faces):
        raise MediaError("no faces to attack")
    crops = whole_faces(list(faces.images), backend.input, classifier.device.torch)
    labels = torch.from_numpy(faces.labels).to(classifier.device.torch)
    _check_gradient(backend, crops[:8], labels[:8])
    clean = _right(backend, crops, labels, batch_size)
    figures = []
    for attack in ("fgsm", "pgd"):
        for epsilon in epsilons:
            if progress is not None:
                progress(f"{attack} {epsilon:g}/255")
            parts = []
            with torch.random.fork_rng([classifier.device.torch.index] if classifier.device.is_cuda else []):
                torch.manual_seed(seed)
                for rows in torch.split(torch.arange(len(crops)), batch_size):
                    parts.append(perturb(backend, crops[rows], labels[rows], attack, epsilon / 255, steps))
            right = _right(backend, torch.cat(parts), labels, batch_size)
            figures.append(AttackFigures(attack, epsilon, float(right.mean()), bootstrap_ci95(right)))
    return Adversarial(len(faces), seed, float(clean.mean()), bootstrap_ci95(clean), tuple(figures))


def perturb(
    backend: TorchBackend, crops: torch.Tensor, labels: torch.Tensor, attack: Attack, radius: float, steps: int = STEPS
) -> torch.Tensor:
    """Change crops so that the network errs.

    Args:
        backend: Whose network.
        crops: float32 [N, C, S, S], 0-1, on the backend's device.
        labels: The truth [N].
        attack: `fgsm` or `pgd`.
        radius: Largest change of a pixel on the 0-1 scale.
        steps: Of PGD.

    Returns:
        Crops of the same shape, 0-1, nowhere further than the radius.
    """
    from captum.robust import FGSM, PGD

    with warnings.catch_warnings():
        # captum sets requires_grad at every step, and says so every time.
        warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")
        if attack == "fgsm":
            fgsm = FGSM(_forward(backend), _loss, lower_bound=0.0, upper_bound=1.0)
            fgsm.zero_thresh = 0.0  # a sure network has small gradients; their sign counts all the same
            attacked: torch.Tensor = fgsm.perturb(crops, radius, labels)
        else:
            pgd = PGD(_forward(backend), _loss, lower_bound=0.0, upper_bound=1.0)
            pgd.fgsm.zero_thresh = 0.0
            step = STEP_SHARE * radius / steps
            attacked = pgd.perturb(crops, radius, step, steps, labels, random_start=True)
    return attacked.detach()


def _forward(backend: TorchBackend) -> Callable[[torch.Tensor], torch.Tensor]:
    def logits(crops: torch.Tensor) -> torch.Tensor:
        # Without the power: the order and so the goal is the same, and a high power has no gradient for a sure face.
        outputs: torch.Tensor = backend.model(backend.device.layout(normalise(crops, backend)))
        return outputs / backend.temperature

    return logits


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def _check_gradient(backend: TorchBackend, crops: torch.Tensor, labels: torch.Tensor) -> None:
    crops = crops.clone().requires_grad_()
    loss = _loss(_forward(backend)(crops), labels).sum()
    (gradient,) = torch.autograd.grad(loss, crops, allow_unused=True) if loss.requires_grad else (None,)
    if gradient is None or not bool(gradient.any()):
        raise BackendError(
            f"no gradient of {type(backend.model).__name__} reaches the pixels; FGSM and PGD cannot attack it"
        )


@torch.no_grad()
def _right(backend: TorchBackend, crops: torch.Tensor, labels: torch.Tensor, batch_size: int) -> NDArray[np.bool_]:
    guess = [backend.predict(normalise(part, backend)).argmax(1) for part in torch.split(crops, batch_size)]
    return np.asarray((torch.cat(guess) == labels).cpu().numpy(), np.bool_)
