"""The thread that owns the device: takes whatever waits, runs it as one batch, and never waits for more.

The engine knows nothing of faces: it is given `prepare` (run in parallel on a few threads, one job each: decoding)
and `process` (run on its own thread, a batch of prepared jobs: everything on the device). A job whose preparation
fails never reaches the batch; `process` returns one result or error a job.
"""

import queue
import threading
import time
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
ResultT_co = TypeVar("ResultT_co", covariant=True)


class InferenceEngine(Protocol[JobT_contra, ResultT_co]):
    """What gateways talk to; the local engine below is one, a cluster may be another."""

    def submit(self, job: JobT_contra) -> "Future[ResultT_co]":
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
        self._ready: queue.SimpleQueue[tuple[PreparedT, Future[ResultT]] | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="affect-decode")
        self._closed = False
        self.stats = EngineStats()
        self._thread = threading.Thread(target=self._run, name="affect-device", daemon=True)
        self._thread.start()

    def submit(self, job: JobT) -> "Future[ResultT]":
        """Queue a job.

        Raises:
            BackendError: The engine is closed.
        """
        if self._closed:
            raise BackendError("the engine is closed", code=ErrorCode.BACKEND_UNAVAILABLE)
        result: Future[ResultT] = Future()
        self._pool.submit(self._prepare_one, job, result)
        return result

    def close(self) -> None:
        """Finish what waits, then stop both kinds of threads."""
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True)
        self._ready.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Prepared jobs that wait for the device."""
        return self._ready.qsize()

    def _prepare_one(self, job: JobT, result: "Future[ResultT]") -> None:
        try:
            prepared = self._prepare(job)
        except Exception as exc:
            self.stats.failed += 1
            result.set_exception(exc if isinstance(exc, AffectError) else _internal(exc))
            return
        self._ready.put((prepared, result))

    def _stream(self) -> AbstractContextManager[object]:
        if self._device.is_cuda:
            return torch.cuda.stream(torch.cuda.Stream(self._device.torch))  # type: ignore[no-any-return]
        return nullcontext()

    def _run(self) -> None:
        with self._stream(), torch.inference_mode():
            while (batch := self._take()) is not None:
                started = time.perf_counter()
                self._run_batch(batch)
                self.stats.busy_s += time.perf_counter() - started
                self.stats.batches += 1
                self.stats.jobs += len(batch)
                self.stats.largest_batch = max(self.stats.largest_batch, len(batch))

    def _take(self) -> "list[tuple[PreparedT, Future[ResultT]]] | None":
        """Wait for one job, then take all that is there; None at the end."""
        first = self._ready.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < self._max_batch:
            try:
                item = self._ready.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._ready.put(None)
                break
            batch.append(item)
        return batch

    def _run_batch(self, batch: "list[tuple[PreparedT, Future[ResultT]]]") -> None:
        try:
            results = self._process([prepared for prepared, _ in batch])
        except Exception as exc:  # `process` isolates its plugins itself; this is a defect of ours, told to all
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


def _internal(exc: Exception) -> AffectError:
    error = AffectError(f"{type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
