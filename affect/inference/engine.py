"""The thread that owns the device: takes whatever waits, runs it as one batch, and never waits for more.

The engine knows nothing of faces: it is given `prepare` (run in parallel on a few threads, one job each: decoding)
and `process` (run on its own thread, a batch of prepared jobs: everything on the device). A job whose preparation
fails never reaches the batch; `process` returns one result or error a job.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

from affect.errors import AffectError, BackendError, ErrorCode
from affect.inference.device import Device

JobT = TypeVar("JobT")
JobT_contra = TypeVar("JobT_contra", contravariant=True)
PreparedT = TypeVar("PreparedT")
ResultT = TypeVar("ResultT")


class InferenceEngine(Protocol[JobT_contra, ResultT]):
    """What gateways talk to; the local engine below is one, a cluster may be another."""

    def submit(self, job: JobT_contra) -> Future[ResultT]:
        """Queue a job; the future raises an `AffectError` when the job failed."""
        ...

    def close(self) -> None:
        """Finish what waits, then stop."""
        ...


@dataclass(slots=True)
class EngineStats:
    """Totals since the start; `busy_s` is time the device thread spent in batches."""

    batches: int = 0
    jobs: int = 0
    failed: int = 0
    largest_batch: int = 0
    busy_s: float = 0.0


class LocalEngine(Generic[JobT, PreparedT, ResultT]):
    """Work-conserving batching on one device.

    Args:
        prepare: One job -> its prepared form; raises `AffectError` for a job that cannot be used.
        process: Prepared jobs -> one result or error each, in order.
        device: The device the thread owns; on CUDA it works on a stream of its own.
        max_batch: Jobs in one batch at most.
        workers: Threads that prepare.
    """

    def __init__(
        self,
        prepare: Callable[[JobT], PreparedT],
        process: Callable[[list[PreparedT]], list[ResultT | AffectError]],
        *,
        device: Device,
        max_batch: int = 64,
        workers: int = 2,
    ) -> None:
        self._prepare, self._process = prepare, process
        self._device, self._max_batch = device, max_batch
        self._queue: deque[tuple[Future[PreparedT], Future[ResultT]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.stats = EngineStats()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="affect-decode")
        self._thread = threading.Thread(target=self._run, name="affect-device", daemon=True)
        self._thread.start()

    def submit(self, job: JobT) -> Future[ResultT]:
        """Queue a job. Jobs reach `process` in the order of their submission.

        Raises:
            BackendError: The engine is closed.
        """
        result: Future[ResultT] = Future()
        with self._changed:
            if self._closed:
                raise BackendError("the engine is closed", code=ErrorCode.BACKEND_UNAVAILABLE)
            prepared = self._pool.submit(self._prepare, job)
            self._queue.append((prepared, result))
        prepared.add_done_callback(self._wake)
        return result

    def close(self) -> None:
        """Finish what waits, then stop both kinds of threads."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._pool.shutdown(wait=True)

    @property
    def waiting(self) -> int:
        """Jobs that are not in a batch yet."""
        return len(self._queue)

    def _wake(self, _: Future[PreparedT]) -> None:
        with self._changed:
            self._changed.notify()

    def _stream(self) -> AbstractContextManager[object]:
        if self._device.is_cuda:
            return torch.cuda.stream(torch.cuda.Stream(self._device.torch))  # type: ignore[no-untyped-call]
        return nullcontext()

    def _run(self) -> None:
        with self._stream(), torch.inference_mode():
            while (batch := self._take()) is not None:
                if not batch:
                    continue
                started = time.perf_counter()
                self._run_batch(batch)
                self.stats.busy_s += time.perf_counter() - started
                self.stats.batches += 1
                self.stats.jobs += len(batch)
                self.stats.largest_batch = max(self.stats.largest_batch, len(batch))
                del batch  # pictures must not stay until the next ones come

    def _take(self) -> list[tuple[PreparedT, Future[ResultT]]] | None:
        """Wait until the oldest job is prepared, then take all that are, in order; None at the end.

        Order matters because a session's frames must not overtake each other; the oldest is also the one whose
        decoding began first, so it is rarely waited for.
        """
        with self._changed:
            while not (self._queue and self._queue[0][0].done()):
                if self._closed and not self._queue:
                    return None
                self._changed.wait()
            taken: list[tuple[Future[PreparedT], Future[ResultT]]] = []
            while self._queue and self._queue[0][0].done() and len(taken) < self._max_batch:
                job = self._queue.popleft()
                if job[1].set_running_or_notify_cancel():  # whoever asked may have gone meanwhile
                    taken.append(job)
        batch = []
        for prepared, result in taken:
            error = prepared.exception()
            if error is None:
                batch.append((prepared.result(), result))
            else:
                self.stats.failed += 1
                result.set_exception(error if isinstance(error, AffectError) else _internal(error))
        return batch

    def _run_batch(self, batch: list[tuple[PreparedT, Future[ResultT]]]) -> None:
        try:
            results = self._process([prepared for prepared, _ in batch])
            if len(results) != len(batch):
                raise AffectError(f"the pipeline gave {len(results)} results for {len(batch)} jobs")
        except BaseException as exc:  # told to all; whatever it is, even a plugin's SystemExit, this thread goes on
            error = exc if isinstance(exc, AffectError) else _internal(exc)
            for _, future in batch:
                future.set_exception(error)
            self.stats.failed += len(batch)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, AffectError):
                self.stats.failed += 1
                future.set_exception(result)
            else:
                future.set_result(result)


def _internal(exc: BaseException) -> AffectError:
    error = AffectError(f"{type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
