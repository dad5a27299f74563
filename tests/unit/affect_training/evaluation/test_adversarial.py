from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from affect_training.data import Split
from affect_training.evaluation.adversarial import adversarial, perturb
from torch import nn
from torch.nn import functional

from affect.errors import BackendError, MediaError
from affect.inference.checkpoint import InputSpec, save_checkpoint
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend
from affect.pictures import FaceClassifier
from affect.vision.geometry import FER2013_CROP


class Bars(nn.Module):
    """Reads the brightness of seven bars; sure of itself."""

    def __init__(self, size: int = 48, channels: int = 1) -> None:
        super().__init__()
        self.out = nn.Linear(channels * size * size, 7)
        weight = torch.zeros(7, channels, size, size)
        for k in range(7):
            weight[k, :, k * size // 7 : (k + 1) * size // 7] = 40 / (channels * size * size)
        self.out.weight = nn.Parameter(weight.flatten(1))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(faces.flatten(1))
        return logits


class Deaf(Bars):
    """Answers, but no gradient reaches the pixels."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return super().forward(faces.detach().round())


class Load(Protocol):
    """Serve a network."""

    def __call__(self, network: nn.Module, spec: InputSpec = ..., power: float = 1.0) -> FaceClassifier: ...


GREY = InputSpec(size=48, channels=1, mean=(0.4,), std=(0.2,), crop=FER2013_CROP)


@pytest.fixture
def load(tmp_path: Path, cpu: Device) -> Load:
    def make(network: nn.Module, spec: InputSpec = GREY, power: float = 1.0) -> FaceClassifier:
        path = tmp_path / "bars.safetensors"
        save_checkpoint(
            path,
            network.state_dict(),
            dtype=torch.float32,
            architecture="tests:Bars",
            parameters=1,
            input=spec,
            temperature=1.5,
            power=power,
        )
        return FaceClassifier(TorchBackend(lambda: network, path, cpu), cpu)

    return make


@pytest.fixture
def bars() -> Split:
    """Faces on which the bar of their label is a little brighter."""
    rng = np.random.default_rng(0)
    labels = np.arange(28, dtype=np.int64) % 7
    images = rng.integers(90, 110, (28, 48, 48), np.uint8)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        image[label * 48 // 7 : (label + 1) * 48 // 7] += 2 + k // 2
    return Split(images, labels, np.arange(28, dtype=np.int64))


def test_accuracy_falls_with_epsilon_and_pgd_is_no_weaker(load: Load, bars: Split) -> None:
    told: list[str] = []
    found = adversarial(load(Bars(), GREY), bars, epsilons=(0.5, 4, 16), progress=told.append)
    assert found.n == 28
    assert found.clean > 0.9
    assert told == [f"{attack} {epsilon}/255" for attack in ("fgsm", "pgd") for epsilon in ("0.5", "4", "16")]
    fgsm = [figures.accuracy for figures in found.attacks if figures.attack == "fgsm"]
    pgd = [figures.accuracy for figures in found.attacks if figures.attack == "pgd"]
    assert found.clean >= fgsm[0] > fgsm[1] > fgsm[2] == 0
    assert all(strong <= weak + 0.05 for strong, weak in zip(pgd, fgsm, strict=True))
    low, high = found.attacks[1].accuracy_ci95
    assert low <= fgsm[1] <= high


def test_a_power_of_the_calibration_hides_no_gradient(load: Load, bars: Split) -> None:
    crops, labels = torch.from_numpy(bars.images)[:, None] / 255, torch.from_numpy(bars.labels)
    attacked = []
    for power in (1.0, 3.5):
        backend = load(Bars(), GREY, power).backend
        assert isinstance(backend, TorchBackend)
        attacked.append(perturb(backend, crops, labels, "fgsm", 4 / 255))
    assert torch.equal(*attacked)
    assert not torch.equal(attacked[0], crops)


def test_the_same_seed_gives_the_same_figures(load: Load, bars: Split) -> None:
    classifier = load(Bars(), GREY)
    state = torch.get_rng_state()
    first = adversarial(classifier, bars, limit=10, epsilons=(2,))
    assert first == adversarial(classifier, bars, limit=10, epsilons=(2,))
    assert first.n == 10
    assert torch.equal(torch.get_rng_state(), state)


def test_fgsm_is_one_step_along_the_sign(load: Load, bars: Split) -> None:
    backend = load(Bars(), GREY).backend
    assert isinstance(backend, TorchBackend)
    crops = torch.from_numpy(bars.images).float()[:, None] / 255
    labels = torch.from_numpy(bars.labels)
    leaf = crops.clone().requires_grad_()
    functional.cross_entropy(backend.model((leaf - 0.4) / 0.2) / 1.5, labels).backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    expected = (crops + 3 / 255 * leaf.grad.sign()).clamp(0, 1)
    torch.testing.assert_close(perturb(backend, crops, labels, "fgsm", 3 / 255), expected)


def test_sure_answers_are_attacked_too(load: Load, bars: Split) -> None:
    """Their gradient is tiny but its sign counts."""
    network = Bars()
    network.out.weight = nn.Parameter(network.out.weight.detach() * 20)
    backend = load(network, GREY).backend
    assert isinstance(backend, TorchBackend)
    crops = torch.from_numpy(bars.images).float()[:, None] / 255
    labels = torch.from_numpy(bars.labels)
    attacked = perturb(backend, crops, labels, "fgsm", 1 / 255)
    assert float((attacked - crops).abs().amax(dim=(1, 2, 3)).min()) == pytest.approx(1 / 255, rel=1e-3)


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_no_pixel_goes_further_than_the_radius_nor_out_of_range(attack: str, load: Load, bars: Split) -> None:
    backend = load(Bars(), GREY).backend
    assert isinstance(backend, TorchBackend)
    crops = torch.from_numpy(bars.images).float()[:, None] / 255
    crops[:, :, :4], crops[:, :, -4:] = 0, 1
    labels = torch.from_numpy(bars.labels)
    attacked = perturb(backend, crops, labels, "pgd" if attack == "pgd" else "fgsm", 8 / 255)
    assert float((attacked - crops).abs().max()) <= 8 / 255 + 1e-6
    assert float(attacked.min()) >= 0
    assert float(attacked.max()) <= 1
    assert not attacked.requires_grad
    before, after = (functional.cross_entropy(backend.predict((x - 0.4) / 0.2), labels) for x in (crops, attacked))
    assert float(after) > float(before)


def test_other_sizes_and_colour_are_made_as_the_service_makes_them(load: Load, bars: Split) -> None:
    spec = InputSpec(size=32, channels=3, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2), crop=FER2013_CROP)
    classifier = load(Bars(32, 3), spec)
    found = adversarial(classifier, bars, epsilons=(16,))
    served = classifier.probabilities(list(bars.images)).argmax(1)
    assert found.clean == pytest.approx((served == bars.labels).mean())
    assert found.attacks[0].accuracy < found.clean


def test_a_backend_that_is_no_network_is_refused(classifier: FaceClassifier, bars: Split) -> None:
    with pytest.raises(BackendError, match=r"FakeBackend does not give.*TorchBackend"):
        adversarial(classifier, bars)


def test_a_network_without_gradient_is_refused(load: Load, bars: Split) -> None:
    with pytest.raises(BackendError, match="no gradient of Deaf reaches the pixels"):
        adversarial(load(Deaf(), GREY), bars)


def test_no_faces_no_attack(load: Load, bars: Split) -> None:
    with pytest.raises(MediaError, match="no faces"):
        adversarial(load(Bars(), GREY), bars.take([]))
