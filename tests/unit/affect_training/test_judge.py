"""How an epoch is judged among several processes; for one, see test_run."""

import csv
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from affect_training.judge import LOG_COLUMNS, EpochResult, Judge
from affect_training.module import LossNotFiniteError
from affect_training.run import Run

from affect.errors import AffectError

from .conftest import Start


def judge(of: Run, *, first: bool, broadcast: Any, failed: str = "") -> tuple[Judge, list[Any], list[str]]:
    """Return the judge of one of two processes, what it sent and what it said."""
    sent: list[Any] = []
    said: list[str] = []

    def share(answer: Any) -> Any:
        sent.append(answer)
        return answer if first else ([broadcast], failed)

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    trainer = SimpleNamespace(
        is_global_zero=first, world_size=2, strategy=SimpleNamespace(broadcast=share), optimizers=[optimizer],
        should_stop=False,
    )  # fmt: skip
    made = Judge(of, said.append, None, None)
    made.module = SimpleNamespace(  # type: ignore[assignment]
        trainer=trainer, evaluated=of.model, logger=None, not_finite=lambda what: LossNotFiniteError(0, 3, [1], what)
    )
    of.folder.mkdir(exist_ok=True)
    return made, sent, said


def test_the_first_process_judges_and_writes(start: Start) -> None:
    one = start()
    made, sent, said = judge(one, first=True, broadcast=None)
    loss = made.after_epoch(1.5)
    figures = (loss, one.state.best_accuracy, pytest.approx(one.state.best_accuracy))
    assert sent == [([figures], ""), ([None], "")]
    assert len(said) == 1
    assert sorted(path.name for path in one.folder.iterdir()) == ["best.ckpt", "log.csv"]


def test_the_others_take_its_word_and_write_nothing(start: Start) -> None:
    one = start(epochs=2)
    made, _, said = judge(one, first=False, broadcast=(0.25, 0.5, 0.75))
    assert made.after_epoch(1.5) == 0.25
    assert (one.state.epoch, one.state.best_loss, one.state.best_accuracy) == (1, 0.25, 0.5)
    stops = [made.module.trainer.should_stop]
    made.after_epoch(1.5)
    stops.append(made.module.trainer.should_stop)
    assert stops == [False, True]
    assert said == []
    assert list(one.folder.iterdir()) == []


def test_what_fails_in_the_first_process_ends_all(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Judge, "_figures", full)
    made, sent, _ = judge(start(), first=True, broadcast=None)
    with pytest.raises(torch.OutOfMemoryError):
        made.after_epoch(1.5)
    assert sent == [([], "OutOfMemoryError: CUDA out of memory")]
    made, _, _ = judge(start(), first=False, broadcast=None, failed=sent[0][1])
    with pytest.raises(AffectError, match="the first process failed, so this one ends too: OutOfMemoryError: CUDA"):
        made.after_epoch(1.5)


def test_all_stop_when_the_loss_is_not_finite(start: Start) -> None:
    made, _, _ = judge(start(), first=False, broadcast=(float("nan"), 0.5, 0.5))
    with pytest.raises(AffectError, match="the PublicTest loss of epoch 0, step 3"):
        made.after_epoch(1.5)


def test_the_log_has_a_row_an_epoch(start: Start) -> None:
    one = start()
    results: list[EpochResult] = []
    one.fit(lambda _: None, on_epoch=results.append)
    with (one.folder / "log.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == LOG_COLUMNS
    assert [[float(cell) for cell in row] for row in rows[1:]] == [
        [r.epoch, r.lr, r.train_loss, r.loss, r.accuracy, r.macro_recall, r.seconds] for r in results
    ]
    assert [r.epoch for r in results] == [1, 2, 3]
    assert results[0].seconds < results[2].seconds
