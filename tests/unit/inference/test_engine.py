import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from affect.errors import AffectError, BackendError, ErrorCode, FrameError
from affect.inference import engine as module
from affect.inference.device import Device
from affect.inference.engine import LocalEngine

WAIT_S = 30.0  # only ever waited for when a test fails


class Work:
    """Preparation and processing that stop at gates, so that a test decides who is busy."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.prepare_gates: dict[int, threading.Event] = {}
        self.preparing: dict[int, threading.Event] = {}
        self.process_gate = threading.Event()
        self.process_gate.set()
        self.processing = threading.Event()
        self.inference_mode: bool | None = None

    def hold_preparation(self, job: int) -> tuple[threading.Event, threading.Event]:
        """Return (has begun, may end) of the preparation of a job."""
        self.preparing[job], self.prepare_gates[job] = threading.Event(), threading.Event()
        return self.preparing[job], self.prepare_gates[job]

    def prepare(self, job: int) -> int:
        if job in self.prepare_gates:
            self.preparing[job].set()
            assert self.prepare_gates[job].wait(WAIT_S)
        if job == 404:
            raise FrameError("no picture")
        if job == 500:
            raise ZeroDivisionError("defect")
        return job * 10

    def process(self, prepared: list[int]) -> list[int | AffectError]:
        self.batches.append([p // 10 for p in prepared])
        self.threads.add(threading.current_thread().name)
        self.inference_mode = torch.is_inference_mode_enabled()
        self.processing.set()
        assert self.process_gate.wait(WAIT_S)
        if 6660 in prepared:
            raise RuntimeError("the device is gone")
        if 7770 in prepared:
            raise BackendError("known trouble")
        return [BackendError("bad face") if p == 130 else p + 1 for p in prepared]


class Bench:
    def __init__(self, max_batch: int = 64, workers: int = 1, lanes: int = 1) -> None:
        self.work = Work()
        self.engine: LocalEngine[int, int, int] = LocalEngine(
            self.work.prepare,
            self.work.process,
            device=Device("cpu", "float32"),
            lane=lambda job: job % lanes,
            max_batch=max_batch,
            workers=workers,
        )

    def submit(self, *jobs: int) -> list["Future[int]"]:
        return [self.engine.submit(job) for job in jobs]

    def occupy(self) -> "Future[int]":
        """Let the device thread be busy with job 1 until `work.process_gate` opens."""
        self.work.process_gate.clear()
        self.work.processing.clear()
        future = self.engine.submit(1)
        assert self.work.processing.wait(WAIT_S)
        return future

    def submit_and_prepare(self, *jobs: int) -> tuple[list["Future[int]"], threading.Event]:
        """Submit jobs and wait until all are prepared; also returns what lets a last job 99 through.

        The one worker prepares in order: when it has begun 99, the ones before are done.
        """
        begun, may_end = self.work.hold_preparation(99)
        futures = self.submit(*jobs, 99)
        assert begun.wait(WAIT_S)
        return futures, may_end


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.work.process_gate.set()
    made.engine.close()


def test_a_job_is_prepared_and_processed(bench: Bench) -> None:
    (future,) = bench.submit(4)
    assert future.result(WAIT_S) == 41
    assert bench.work.threads == {"affect-device"}
    assert bench.work.inference_mode is True


def test_batches_form_while_the_device_is_busy(bench: Bench) -> None:
    first = bench.occupy()
    futures, may_end = bench.submit_and_prepare(2, 3, 4, 5)
    assert bench.engine.waiting == 5
    bench.work.process_gate.set()
    assert first.result(WAIT_S) == 11
    assert [f.result(WAIT_S) for f in futures[:-1]] == [21, 31, 41, 51]
    may_end.set()
    assert futures[-1].result(WAIT_S) == 991
    assert bench.work.batches == [[1], [2, 3, 4, 5], [99]]


def test_a_batch_has_a_largest_size() -> None:
    bench = Bench(max_batch=2)
    bench.occupy()
    futures, may_end = bench.submit_and_prepare(2, 3, 4, 5, 6)
    may_end.set()
    bench.work.process_gate.set()
    assert [f.result(WAIT_S) for f in futures] == [21, 31, 41, 51, 61, 991]
    bench.engine.close()
    assert bench.work.batches[:3] == [[1], [2, 3], [4, 5]]
    assert bench.engine.stats.largest_batch == 2


def test_jobs_queued_together_are_one_batch_whatever_waits(bench: Bench) -> None:
    bench.occupy()
    before = bench.submit(2)
    together = bench.engine.submit_together([3, 4, 5])
    after, may_end = bench.submit_and_prepare(6)
    may_end.set()
    bench.work.process_gate.set()
    assert [f.result(WAIT_S) for f in (*before, *together, *after)] == [21, 31, 41, 51, 61, 991]
    assert bench.work.batches[:3] == [[1], [2], [3, 4, 5]]


def test_jobs_queued_together_wait_for_the_last_of_them() -> None:
    bench = Bench(workers=2, lanes=2)
    begun, may_end = bench.work.hold_preparation(4)
    together = bench.engine.submit_together([2, 4, 6])
    assert begun.wait(WAIT_S)
    assert bench.submit(3)[0].result(WAIT_S) == 31
    may_end.set()
    assert [f.result(WAIT_S) for f in together] == [21, 41, 61]
    bench.engine.close()
    assert bench.work.batches == [[3], [2, 4, 6]]


def test_a_slow_job_holds_up_its_own_lane_only() -> None:
    bench = Bench(workers=2, lanes=2)
    begun, may_end = bench.work.hold_preparation(2)
    (slow,) = bench.submit(2)
    assert begun.wait(WAIT_S)
    odd, even = bench.submit(3, 4)
    assert odd.result(WAIT_S) == 31
    bench.submit(5)[0].result(WAIT_S)  # so 4 is prepared, too
    assert not even.done()
    may_end.set()
    assert (slow.result(WAIT_S), even.result(WAIT_S)) == (21, 41)
    bench.engine.close()
    assert [job for batch in bench.work.batches for job in batch] == [3, 5, 2, 4]


def test_a_job_does_not_overtake_an_older_one_that_is_still_prepared() -> None:
    bench = Bench(workers=2)
    begun, may_end = bench.work.hold_preparation(2)
    slow = bench.submit(2)
    assert begun.wait(WAIT_S)
    ready = bench.submit(3, 4)
    # The second worker prepares 3 and 4 in order; when 5 has begun, both are done.
    five_begun, five_may_end = bench.work.hold_preparation(5)
    last = bench.submit(5)
    assert five_begun.wait(WAIT_S)
    assert not any(f.done() for f in ready)
    assert bench.work.batches == []
    may_end.set()
    assert [f.result(WAIT_S) for f in (*slow, *ready)] == [21, 31, 41]
    five_may_end.set()
    assert last[0].result(WAIT_S) == 51
    bench.engine.close()
    assert [job for batch in bench.work.batches for job in batch] == [2, 3, 4, 5]


def test_order_holds_with_many_workers() -> None:
    bench = Bench(max_batch=3, workers=4)
    futures = bench.submit(*range(20, 60))
    assert [f.result(WAIT_S) for f in futures] == [job * 10 + 1 for job in range(20, 60)]
    bench.engine.close()
    assert [job for batch in bench.work.batches for job in batch] == list(range(20, 60))


def test_a_job_that_cannot_be_prepared_costs_only_itself(bench: Bench) -> None:
    bench.occupy()
    (good, bad, defect, also_good, _), may_end = bench.submit_and_prepare(2, 404, 500, 3)
    may_end.set()
    bench.work.process_gate.set()
    assert (good.result(WAIT_S), also_good.result(WAIT_S)) == (21, 31)
    with pytest.raises(FrameError, match="no picture"):
        bad.result(WAIT_S)
    with pytest.raises(AffectError, match="ZeroDivisionError: defect") as caught:
        defect.result(WAIT_S)
    assert caught.value.code is ErrorCode.INTERNAL
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert bench.work.batches[1][:2] == [2, 3]


def test_a_batch_without_a_good_job_is_not_processed(bench: Bench) -> None:
    (bad,) = bench.submit(404)
    with pytest.raises(FrameError):
        bad.result(WAIT_S)
    bench.engine.close()
    assert bench.work.batches == []
    assert (bench.engine.stats.batches, bench.engine.stats.failed) == (0, 1)


def test_an_error_among_the_results_is_that_jobs_own(bench: Bench) -> None:
    bench.occupy()
    futures, may_end = bench.submit_and_prepare(12, 13, 14)
    bench.work.process_gate.set()
    may_end.set()
    assert (futures[0].result(WAIT_S), futures[2].result(WAIT_S)) == (121, 141)
    with pytest.raises(BackendError, match="bad face"):
        futures[1].result(WAIT_S)


@pytest.mark.parametrize(
    ("job", "code", "message"),
    [
        (666, ErrorCode.INTERNAL, "RuntimeError: the device is gone"),
        (777, ErrorCode.BACKEND_FAILED, "known trouble"),
    ],
)
def test_when_processing_fails_everybody_in_the_batch_is_told_and_it_goes_on(
    bench: Bench, job: int, code: ErrorCode, message: str
) -> None:
    bench.occupy()
    futures, may_end = bench.submit_and_prepare(2, job, 3)
    bench.work.process_gate.set()
    for future in futures[:-1]:
        with pytest.raises(AffectError, match=message) as caught:
            future.result(WAIT_S)
        assert caught.value.code is code
    may_end.set()
    assert futures[-1].result(WAIT_S) == 991


def test_a_wrong_number_of_results_is_told_to_all_and_it_goes_on() -> None:
    def process(jobs: list[int]) -> list[int | AffectError]:
        return [] if 2 in jobs else [job + 1 for job in jobs]

    engine: LocalEngine[int, int, int] = LocalEngine(lambda job: job, process, device=Device("cpu", "float32"))
    with pytest.raises(AffectError):
        engine.submit(2).result(WAIT_S)
    assert engine.submit(3).result(WAIT_S) == 4
    engine.close()


def test_a_job_nobody_waits_for_any_more_costs_nobody_else(bench: Bench) -> None:
    # asyncio.wrap_future cancels the engine's future when the task that awaits it is cancelled.
    bench.occupy()
    (given_up, kept, _), may_end = bench.submit_and_prepare(2, 3)
    assert given_up.cancel()
    bench.work.process_gate.set()
    may_end.set()
    assert kept.result(WAIT_S) == 31


def test_a_cancelled_job_that_could_not_be_prepared_costs_nobody_else(bench: Bench) -> None:
    bench.occupy()
    (given_up, kept, _), may_end = bench.submit_and_prepare(404, 3)
    assert given_up.cancel()
    bench.work.process_gate.set()
    may_end.set()
    assert kept.result(WAIT_S) == 31


def test_close_finishes_what_waits(bench: Bench) -> None:
    first = bench.occupy()
    futures, may_end = bench.submit_and_prepare(2, 404, 3)
    closer = threading.Thread(target=bench.engine.close)
    closer.start()
    bench.work.process_gate.set()
    may_end.set()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    assert all(f.done() for f in (first, *futures))
    assert [f.result() for f in (first, futures[0], futures[2], futures[3])] == [11, 21, 31, 991]
    threads = [bench.engine._thread, *bench.engine._pool._threads]
    assert len(threads) == 2
    assert not any(thread.is_alive() for thread in threads)


def test_nothing_can_be_submitted_after_close(bench: Bench) -> None:
    bench.engine.close()
    with pytest.raises(BackendError, match="the engine is closed") as caught:
        bench.engine.submit(2)
    assert caught.value.code is ErrorCode.BACKEND_UNAVAILABLE
    assert bench.engine.waiting == 0


def test_close_twice_is_no_trouble(bench: Bench) -> None:
    bench.engine.close()
    bench.engine.close()


def test_totals_are_counted(bench: Bench) -> None:
    bench.occupy()
    futures, may_end = bench.submit_and_prepare(2, 13, 404)
    bench.work.process_gate.set()
    may_end.set()
    assert futures[-1].result(WAIT_S) == 991
    bench.engine.close()
    stats = bench.engine.stats
    assert (stats.jobs, stats.failed) == (4, 2)
    assert stats.largest_batch in (2, 3)  # 99 may have come in time for the second batch
    assert stats.batches == len(bench.work.batches)
    assert stats.busy_s > 0


def test_nothing_of_a_batch_is_kept_while_the_next_one_is_waited_for() -> None:
    class Picture:
        pass

    work: LocalEngine[Picture, Picture, int] = LocalEngine(
        lambda job: job, lambda batch: [0] * len(batch), device=Device("cpu", "float32")
    )
    picture = Picture()
    kept = weakref.ref(picture)
    work.submit(picture).result(WAIT_S)
    del picture
    deadline = time.monotonic() + WAIT_S
    while kept() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert kept() is None
    work.close()


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


def test_the_cpu_does_not_break(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "why_unusable", lambda _: "nobody should ask")
    assert "the device is gone" in why(bench.engine, 666).message
    assert bench.engine.broken == ""
