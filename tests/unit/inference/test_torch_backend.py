import json
from pathlib import Path

import pytest
import torch
from torch import nn

from affect.errors import CheckpointError
from affect.inference.checkpoint import InputSpec, save_checkpoint, sidecar_path
from affect.inference.device import Device
from affect.inference.optional import EmbeddingBackend
from affect.inference.torch_backend import TorchBackend
from affect.vision.geometry import FER2013_CROP

INPUT = InputSpec(size=16, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP)


class Tiny(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(width, 7)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(faces.shape))
        logits: torch.Tensor = self.out(self.dropout(self.conv(faces).mean((2, 3))))
        return logits


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(
        path,
        Tiny().state_dict(),
        dtype=torch.float32,
        architecture="tiny:Tiny",
        parameters=75,
        input=INPUT,
        temperature=1.5,
    )
    return path


def test_it_answers_what_the_network_answers(weights: Path, cpu: Device) -> None:
    torch.manual_seed(3)
    network = Tiny().eval()
    faces = torch.randn(5, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(TorchBackend(Tiny, weights, cpu).predict(faces), network(faces))


def test_input_and_temperature_are_those_of_the_sidecar(weights: Path, cpu: Device) -> None:
    backend = TorchBackend(Tiny, weights, cpu)
    assert backend.input == INPUT
    assert backend.temperature == 1.5


def test_its_logits_are_raised_to_the_power_of_the_sidecar(weights: Path, cpu: Device) -> None:
    plain = TorchBackend(Tiny, weights, cpu)
    path = sidecar_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), "power": 1.6}))
    backend = TorchBackend(Tiny, weights, cpu)
    faces = torch.randn(5, 1, 16, 16)
    expected = -((-plain.predict(faces).log_softmax(1)) ** 1.6)
    torch.testing.assert_close(backend.predict(faces), expected)
    assert torch.equal(backend.predict(faces).argmax(1), plain.predict(faces).argmax(1))


def test_reduced_precision_answers_in_float32(weights: Path) -> None:
    faces = torch.randn(2, 1, 16, 16)
    exact = TorchBackend(Tiny, weights, Device("cpu", "float32")).predict(faces)
    reduced = TorchBackend(Tiny, weights, Device("cpu", "bfloat16")).predict(faces)
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(reduced, exact, atol=0.05, rtol=0.05)


def test_it_does_not_learn_and_does_not_drop(weights: Path, cpu: Device) -> None:
    backend = TorchBackend(Tiny, weights, cpu)
    faces = torch.randn(2, 1, 16, 16)
    first = backend.predict(faces)
    assert torch.equal(first, backend.predict(faces))
    assert not first.requires_grad
    assert not any(p.requires_grad for p in backend.model.parameters())


def test_warmup_runs_its_own_input(weights: Path, cpu: Device) -> None:
    backend = TorchBackend(Tiny, weights, cpu)
    backend.warmup()
    assert isinstance(backend.model, Tiny)
    assert [shape[1:] for shape in backend.model.seen] == [(1, 16, 16)] * len(backend.model.seen)
    assert backend.model.seen[0][0] == 1
    assert len(backend.model.seen) > 1


def test_weights_that_do_not_fit_are_refused(weights: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match=r"does not fit Tiny: (.|\n)*size mismatch for conv\.weight") as caught:
        TorchBackend(lambda: Tiny(width=5), weights, cpu)
    assert str(weights) in caught.value.message


def test_weights_of_other_layers_are_refused(weights: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match="does not fit Linear"):
        TorchBackend(lambda: nn.Linear(2, 7), weights, cpu)


def test_a_closed_backend_holds_no_network(weights: Path, cpu: Device) -> None:
    backend = TorchBackend(Tiny, weights, cpu)
    backend.close()
    assert list(backend.model.parameters()) == []


class Headed(Tiny):
    """Names its last layer."""

    @property
    def head(self) -> nn.Module:
        return self.out


def test_the_embedding_is_what_the_head_is_given(weights: Path, cpu: Device) -> None:
    backend = TorchBackend(Headed, weights, cpu)
    faces = torch.randn(3, 1, 16, 16)
    logits, embedding = backend.predict_and_embed(faces)
    assert isinstance(backend, EmbeddingBackend)
    assert embedding is not None
    assert embedding.shape == (3, 4)
    torch.testing.assert_close(logits, backend.predict(faces))
    assert isinstance(backend.model, Headed)
    with torch.inference_mode():
        torch.testing.assert_close(backend.model.out(embedding), logits)
    again = backend.embed(faces)
    assert again is not None
    torch.testing.assert_close(again, embedding)
    assert not backend.model.out._forward_pre_hooks


def test_embeddings_are_float32_in_reduced_precision(weights: Path) -> None:
    embedding = TorchBackend(Headed, weights, Device("cpu", "bfloat16")).embed(torch.randn(2, 1, 16, 16))
    assert embedding is not None
    assert embedding.dtype == torch.float32


def test_a_network_that_names_no_head_has_no_embedding(weights: Path, cpu: Device) -> None:
    backend = TorchBackend(Tiny, weights, cpu)
    faces = torch.randn(2, 1, 16, 16)
    logits, embedding = backend.predict_and_embed(faces)
    assert embedding is None
    torch.testing.assert_close(logits, backend.predict(faces))
