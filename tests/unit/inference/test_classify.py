from math import exp
from typing import Any, cast

import numpy as np
import pytest
import torch

from affect.errors import BackendError, ErrorCode
from affect.inference.checkpoint import InputSpec
from affect.inference.classify import Reading, classify, normalise, probabilities, read
from affect.testing import FakeBackend
from affect.types import FloatArray
from affect.vision.geometry import FER2013_CROP


def flat(*levels: float) -> torch.Tensor:
    """One grey crop of an even level each."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 48, 48).clone()


class Answers(FakeBackend):
    """Answers what the test says."""

    def __init__(self, answer: object, temperature: float = 1.0) -> None:
        super().__init__()
        self.answer, self.temperature = answer, temperature

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(faces))
        return cast(torch.Tensor, self.answer)


def rows(answers: list[FloatArray | BackendError]) -> list[FloatArray]:
    assert all(isinstance(answer, np.ndarray) for answer in answers)
    return cast(list[FloatArray], answers)


def test_every_crop_gets_its_probabilities() -> None:
    backend = FakeBackend()
    found = rows(classify(backend, flat(0.01, 0.5, 0.99)))
    assert [int(row.argmax()) for row in found] == [0, 3, 6]
    for row in found:
        assert row.shape == (7,)
        assert row.dtype == np.float32
        assert float(row.sum()) == pytest.approx(1, abs=1e-5)
        # Its logits are 4 for one emotion and 0 for the others, plus a constant.
        assert float(row.max()) == pytest.approx(exp(4) / (exp(4) + 6), rel=1e-4)
    assert backend.batches == [3]


def test_no_crops_is_no_call() -> None:
    backend = FakeBackend()
    assert classify(backend, torch.zeros(0, 1, 48, 48)) == []
    assert backend.batches == []


def test_crops_are_normalised_as_in_training() -> None:
    class Rgb(FakeBackend):
        input = InputSpec(size=8, channels=3, mean=(0.5, 0.25, 0), std=(0.5, 0.25, 2), crop=FER2013_CROP)

    crops = torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert normalise(crops, Rgb())[0, :, 4, 4].tolist() == [1.0, 1.0, 0.25]


def test_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[2.0, 0, 0, 0, 0, 0, 0]])
    for temperature in (0.5, 1.0, 4.0):
        top = exp(2 / temperature)
        expected = top / (top + 6)
        assert float(probabilities(logits, temperature)[0, 0]) == pytest.approx(expected, rel=1e-5)
        (row,) = rows(classify(Answers(logits, temperature), flat(0.5)))
        assert float(row[0]) == pytest.approx(expected, rel=1e-5)


def test_half_precision_logits_are_answered_in_full() -> None:
    (row,) = rows(classify(Answers(torch.zeros(1, 7, dtype=torch.bfloat16)), flat(0.5)))
    np.testing.assert_allclose(row, np.full(7, 1 / 7), rtol=1e-6)


def test_a_row_of_nan_costs_only_itself() -> None:
    backend = FakeBackend(nan_rows=0.2)
    good, bad, also_good = classify(backend, flat(0.5, 0.1, 0.9))
    assert isinstance(bad, BackendError)
    assert bad.code is ErrorCode.BACKEND_BAD_OUTPUT
    assert "NaN" in bad.message
    assert [int(row.argmax()) for row in rows([good, also_good])] == [3, 6]
    assert backend.batches == [3]


def test_an_infinite_logit_is_an_error() -> None:
    (answer,) = classify(Answers(torch.tensor([[float("inf"), 0, 0, 0, 0, 0, 0]])), flat(0.5))
    assert isinstance(answer, BackendError)


def test_a_crop_that_breaks_the_batch_costs_only_itself() -> None:
    backend = FakeBackend(poison=0.2)
    answers = classify(backend, flat(0.5, 0.6, 0.1, 0.9))
    assert [isinstance(answer, BackendError) for answer in answers] == [False, False, True, False]
    bad = answers[2]
    assert isinstance(bad, BackendError)
    assert bad.code is ErrorCode.BACKEND_FAILED
    assert bad.message == "the backend raised RuntimeError: poisoned batch"
    assert isinstance(bad.__cause__, RuntimeError)
    assert int(rows([answers[3]])[0].argmax()) == 6
    assert backend.batches == [4, 2, 2, 1, 1]


def test_a_backend_that_always_raises_gives_an_error_a_crop() -> None:
    answers = classify(FakeBackend(fail=MemoryError("out")), flat(0.5, 0.6, 0.7))
    assert len(answers) == 3
    for answer in answers:
        assert isinstance(answer, BackendError)
        assert "MemoryError: out" in answer.message


@pytest.mark.parametrize("shape", [(1, 6), (1, 8), (2, 7), (7,), (1, 7, 1)])
def test_logits_of_a_wrong_shape_say_both_shapes(shape: tuple[int, ...]) -> None:
    (answer,) = classify(Answers(torch.zeros(shape)), flat(0.5))
    assert isinstance(answer, BackendError)
    assert answer.code is ErrorCode.BACKEND_BAD_OUTPUT
    assert f"logits {list(shape)}, expected [1, 7]" in answer.message


@pytest.mark.parametrize("answer", [None, [[0.0] * 7], np.zeros((1, 7))], ids=["None", "list", "array"])
def test_an_answer_that_is_no_tensor_is_an_error_of_the_backend(answer: Any) -> None:
    (found,) = classify(Answers(answer), flat(0.5))
    assert isinstance(found, BackendError)
    assert found.code is ErrorCode.BACKEND_BAD_OUTPUT


class Embeds(FakeBackend):
    """Answers with embeddings too."""

    def __init__(self, embedding: torch.Tensor | None = None, *, bad: float | None = None) -> None:
        super().__init__(nan_rows=bad)
        self.embedding = embedding

    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Embed a face as its mean grey, four times."""
        logits = self.predict(faces)
        own = faces.mean(dim=(1, 2, 3))[:, None].repeat(1, 4)
        return logits, own if self.embedding is None else self.embedding


def test_embeddings_come_in_the_same_pass_when_asked_for() -> None:
    backend = Embeds()
    found = read(backend, flat(0.1, 0.9), embed=True)
    assert backend.batches == [2]
    for one, level in zip(found, (0.1, 0.9), strict=True):
        assert isinstance(one, Reading)
        assert one.embedding is not None
        np.testing.assert_allclose(one.embedding, [level] * 4, rtol=1e-5)
        np.testing.assert_array_equal(one.probabilities, rows(classify(FakeBackend(), flat(level)))[0])


def test_without_asking_or_without_an_embedding_there_is_none() -> None:
    for backend, embed in ((Embeds(), False), (FakeBackend(), True)):
        (found,) = read(backend, flat(0.5), embed=embed)
        assert isinstance(found, Reading)
        assert found.embedding is None


def test_a_bad_row_costs_its_embedding_only() -> None:
    bad, good = read(Embeds(bad=0.2), flat(0.1, 0.9), embed=True)
    assert isinstance(bad, BackendError)
    assert isinstance(good, Reading)
    assert good.embedding is not None


def test_embeddings_of_another_shape_are_a_bad_output() -> None:
    (found,) = read(Embeds(torch.zeros(3, 4)), flat(0.1), embed=True)
    assert isinstance(found, BackendError)
    assert found.code is ErrorCode.BACKEND_BAD_OUTPUT
    assert "[3, 4]" in found.message
