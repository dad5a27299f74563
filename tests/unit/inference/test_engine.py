import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from support.bench import WAIT_S, Bench

from affect.errors import AffectError, BackendError, ErrorCode, FrameError
from affect.inference.device import Device
from affect.inference.engine import LocalEngine


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
