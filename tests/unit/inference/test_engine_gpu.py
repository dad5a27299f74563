import threading
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from support.bench import WAIT_S, Bench, Work

from affect.errors import AffectError, ErrorCode, FrameError
from affect.inference import engine as module
from affect.inference.device import Device
from affect.inference.engine import LocalEngine


class Gpu:
    """Stands for a GPU that works until it is told otherwise; counts how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reason, self.asked = "", 0
        self.device = cast(Device, SimpleNamespace(is_cuda=True, name="cuda:0", torch=torch.device("cuda:0")))
        monkeypatch.setattr(module, "why_unusable", self._why)
        self.streams: list[tuple[str, object]] = []
        stream = SimpleNamespace(wait_stream=lambda other: self.streams.append(("waits for", other)))
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
        monkeypatch.setattr(torch.cuda, "stream", self._on)
        self.stream = stream

    def _on(self, stream: object) -> AbstractContextManager[None]:
        self.streams.append(("works on", stream))
        return nullcontext()

    def _why(self, name: str) -> str:
        assert name == "cuda:0"
        self.asked += 1
        return self.reason

    def engine(self, work: Work) -> LocalEngine[int, int, int]:
        return LocalEngine(work.prepare, work.process, device=self.device)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


def why(engine: LocalEngine[int, int, int], job: int) -> AffectError:
    """Return why a job failed."""
    with pytest.raises(AffectError) as caught:
        engine.submit(job).result(WAIT_S)
    return caught.value


def test_the_stream_of_the_engine_waits_for_what_was_loaded_on_the_callers(gpu: Gpu) -> None:
    gpu.engine(Work()).close()
    assert gpu.streams == [("waits for", "the stream of cuda:0"), ("works on", gpu.stream)]


@pytest.mark.parametrize("job", [666, 777, 13])
def test_a_gpu_that_computes_nothing_any_more_is_told_of(gpu: Gpu, caplog: pytest.LogCaptureFixture, job: int) -> None:
    work = Work()
    engine = gpu.engine(work)
    assert engine.submit(2).result(WAIT_S) == 21
    gpu.reason = "CUDA error: an illegal memory access was encountered"
    assert engine.broken == ""
    for later in (job, 3):
        error = why(engine, later)
        assert error.code is ErrorCode.BACKEND_FAILED
        assert error.message == f"cuda:0 cannot be used any more: {gpu.reason}" == engine.broken
    assert (gpu.asked, work.batches) == (1, [[2], [job]])
    assert caplog.messages == [engine.broken]
    engine.close()
    assert engine.stats.failed == 2


def test_a_gpu_that_works_is_not_broken_by_pictures(gpu: Gpu) -> None:
    engine = gpu.engine(Work())
    assert "the device is gone" in why(engine, 666).message
    assert "bad face" in why(engine, 13).message
    assert (gpu.asked, engine.broken) == (2, "")
    assert engine.submit(4).result(WAIT_S) == 41
    assert isinstance(why(engine, 404), FrameError)  # never came near the GPU
    assert gpu.asked == 2
    engine.close()


def test_a_gpu_is_not_asked_while_anything_comes_out_of_it(gpu: Gpu) -> None:
    gpu.reason = "nobody should ask"
    work = Work()
    engine = gpu.engine(work)
    work.process_gate.clear()
    first = engine.submit(1)
    assert work.processing.wait(WAIT_S)
    work.preparing[99], work.prepare_gates[99] = threading.Event(), threading.Event()
    work.preparing[98], work.prepare_gates[98] = threading.Event(), threading.Event()
    bad, good, *_ = (engine.submit(job) for job in (13, 14, 98, 99))
    assert work.preparing[98].wait(WAIT_S)
    assert work.preparing[99].wait(WAIT_S)  # both workers are past 13 and 14
    work.process_gate.set()
    assert (first.result(WAIT_S), good.result(WAIT_S)) == (11, 141)
    assert bad.exception(WAIT_S) is not None
    for gate in work.prepare_gates.values():
        gate.set()
    engine.close()
    assert (gpu.asked, engine.broken) == (0, "")


def test_the_cpu_does_not_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "why_unusable", lambda _: "nobody should ask")
    bench = Bench()
    assert "the device is gone" in why(bench.engine, 666).message
    assert bench.engine.broken == ""
    bench.engine.close()
