"""An engine whose work stops at gates, so that a test decides who is busy."""

import threading
from concurrent.futures import Future

import torch

from affect.errors import AffectError, BackendError, FrameError
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
