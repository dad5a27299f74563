"""The thread that owns the device: takes whatever waits, runs it as one batch, and never waits for more.

The engine knows nothing of faces: it is given `prepare` (run in parallel on a few threads, one job each: decoding)
and `process` (run on its own thread, a batch of prepared jobs: everything on the device). A job whose preparation
fails never reaches the batch; `process` returns one result or error a job. A GPU that cannot compute any more (after
an illegal access, say, nothing of a process can) is found out when a whole batch failed, and kept as `broken`.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

from affect.errors import AffectError, BackendError, ErrorCode
from affect.inference.device import Device, why_unusable

log = logging.getLogger(__name__)

JobT = TypeVar("JobT")
JobT_contra = TypeVar("JobT_contra", contravariant=True)
PreparedT = TypeVar("PreparedT")
ResultT = TypeVar("ResultT")


class InferenceEngine(Protocol[JobT_contra, ResultT]):
    """What gateways talk to; the local engine below is one, a cluster may be another."""

    @property
    def broken(self) -> str:
        """Why every job fails from now on, or ""; nothing but a new engine, in a new process, helps."""
        ...

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


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[PreparedT, ResultT]):
    lane: Hashable
    prepared: Future[PreparedT]
    result: Future[ResultT]


class LocalEngine(Generic[JobT, PreparedT, ResultT]):
    """Work-conserving batching on one device.

    Args:
        prepare: One job -> its prepared form; raises `AffectError` for a job that cannot be used.
        process: Prepared jobs -> one result or error each, in order.
        device: The device the thread owns; on CUDA it works on a stream of its own.
        lane: What a job belongs to: those of one lane are processed in the order of their submission, others may
            overtake, so that one slow picture holds up nobody else. One lane for all when not given.
        max_batch: Jobs in one batch at most.
        workers: Threads that prepare.
    """

    def __init__(
        self,
        prepare: Callable[[JobT], PreparedT],
        process: Callable[[list[PreparedT]], list[ResultT | AffectError]],
        *,
        device: Device,
        lane: Callable[[JobT], Hashable] = lambda _: None,
        max_batch: int = 64,
        workers: int = 2,
    ) -> None:
        self._prepare, self._process, self._lane, self._device = prepare, process, lane, device
        self.broken = ""
        self._max_batch = max_batch
        self._queue: list[tuple[_Waiting[PreparedT, ResultT], ...]] = []  # what is processed together
        self._changed = threading.Condition()
        self._closed = False
        self.stats = EngineStats()
        stream: torch.cuda.Stream | None = None
        if device.is_cuda:
            stream = torch.cuda.Stream(device.torch)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device.torch))  # which may still be moving the weights
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="affect-decode")
        self._thread = threading.Thread(target=self._run, args=(stream,), name="affect-device", daemon=True)
        self._thread.start()

    def submit(self, job: JobT) -> Future[ResultT]:
        """Queue a job. Jobs of one lane reach `process` in the order of their submission.

        Raises:
            BackendError: The engine is closed.
        """
        return self.submit_together([job])[0]

    def submit_together(self, jobs: Sequence[JobT]) -> list[Future[ResultT]]:
        """Queue jobs that become one batch, whatever else waits: what is rounded then does not depend on timing.

        Raises:
            BackendError: The engine is closed.
        """
        with self._changed:
            if self._closed:
                raise BackendError("the engine is closed", code=ErrorCode.BACKEND_UNAVAILABLE)
            results: list[Future[ResultT]] = [Future() for _ in jobs]
            waiting = tuple(
                _Waiting(self._lane(job), self._pool.submit(self._prepare, job), result)
                for job, result in zip(jobs, results, strict=True)
            )
            if waiting:
                self._queue.append(waiting)
        for job in waiting:
            job.prepared.add_done_callback(self._wake)
        return results

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
        return sum(len(together) for together in self._queue)

    def _wake(self, _: Future[PreparedT]) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self, stream: "torch.cuda.Stream | None") -> None:
        with torch.cuda.stream(stream) if stream is not None else nullcontext(), torch.inference_mode():
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
        """Wait until a job is prepared whose lane has no older one, then take all such jobs; None at the end."""
        with self._changed:
            while not (ready := self._ready()):
                if self._closed and not self._queue:
                    return None
                self._changed.wait()
            # Whoever asked may have gone meanwhile.
            taken = [job for job in ready if job.result.set_running_or_notify_cancel()]
        batch = []
        for job in taken:
            error = job.prepared.exception()
            if error is None:
                batch.append((job.prepared.result(), job.result))
            else:
                self.stats.failed += 1
                job.result.set_exception(error if isinstance(error, AffectError) else _internal(error))
        return batch

    def _ready(self) -> "list[_Waiting[PreparedT, ResultT]]":
        """Take the prepared jobs that wait for no older one of their lane off the queue, a batch of them at most."""
        ready: list[_Waiting[PreparedT, ResultT]] = []
        kept: list[tuple[_Waiting[PreparedT, ResultT], ...]] = []
        held: set[Hashable] = set()
        room = self._max_batch
        for together in self._queue:
            lanes = {job.lane for job in together}
            fits = len(ready) < room if len(together) == 1 else not ready
            if fits and lanes.isdisjoint(held) and all(job.prepared.done() for job in together):
                ready += together
                room = 0 if len(together) > 1 else room
            else:
                held |= lanes
                kept.append(together)
        self._queue = kept
        return ready

    def _run_batch(self, batch: list[tuple[PreparedT, Future[ResultT]]]) -> None:
        results = self._results([prepared for prepared, _ in batch])
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, AffectError):
                self.stats.failed += 1
                future.set_exception(result)
            else:
                future.set_result(result)

    def _results(self, jobs: list[PreparedT]) -> list[ResultT | AffectError]:
        """Return one result or error a job; when all failed on a GPU, look whether it still computes anything."""
        if not self.broken:
            results = self._processed(jobs)
            if not self._device.is_cuda or not all(isinstance(result, AffectError) for result in results):
                return results
            if not (reason := why_unusable(self._device.name)):  # the pictures' fault, or a plugin's
                return results
            self.broken = f"{self._device.name} cannot be used any more: {reason}"
            log.error(self.broken)
        error = BackendError(self.broken)
        return [error for _ in jobs]

    def _processed(self, jobs: list[PreparedT]) -> list[ResultT | AffectError]:
        try:
            results = self._process(jobs)
            if len(results) != len(jobs):
                raise AffectError(f"the pipeline gave {len(results)} results for {len(jobs)} jobs")
        except BaseException as exc:  # told to all; whatever it is, even a plugin's SystemExit, this thread goes on
            error = exc if isinstance(exc, AffectError) else _internal(exc)
            return [error for _ in jobs]
        return results


def _internal(exc: BaseException) -> AffectError:
    error = AffectError(f"{type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
