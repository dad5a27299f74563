"""`affect bench pipeline`: what each stage costs, end to end against the floor, and how many sessions hold.

The floor is what cannot be saved: decoding the JPEG and the classifier's forward pass at full batch, on the same
machine in the same run. The picture is the astronaut photograph (NASA, public domain) panned over a grey wall.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from affect.errors import SettingsError
from affect.inference.classify import classify
from affect.pipeline import STAGES, FrameJob, Pipeline, build_engine, build_pipeline, decode_threads
from affect.plugins import PluginHost
from affect.session import LearnerSession, new_session
from affect.settings import Settings
from affect.types import ByteArray, Frame
from affect.vision.tracking import Tracker

_WARM_FRAMES = 32
_LOOP = 120


def run(
    settings: Settings,
    *,
    size: str,
    sessions: int,
    fps: float,
    seconds: float,
    frames: int,
    json_file: Path | None,
) -> dict[str, Any]:
    """Measure and print.

    Raises:
        SettingsError: `size` is not WIDTHxHEIGHT.
    """
    width, height = _parse_size(size)
    console = Console(markup=False)
    host = PluginHost(settings.plugins)
    pipeline = build_pipeline(settings, host)
    console.print(f"{pipeline.device.description}; {size} JPEG frames; detector {settings.vision.detector}")
    jpegs = moving_face(width, height, 2 * _LOOP)
    report = _throughput(pipeline, settings, jpegs, frames)
    console.print(_stage_table(report, settings))
    if seconds > 0:
        held = asyncio.run(_sessions(pipeline, settings, host, jpegs, sessions, fps, seconds))
        report["sessions"] = held
        console.print(
            f"{sessions} sessions at {fps:g} fps for {held['seconds']:.0f} s: {held['frames_per_s']:.0f} of "
            f"{sessions * fps:g} frames/s analysed, {held['dropped_share']:.1%} dropped; frame to observation "
            f"p50 {held['latency_ms_p50']:.0f} ms, p95 {held['latency_ms_p95']:.0f} ms; mean batch "
            f"{held['mean_batch']:.1f}"
        )
    report["resident_mib"] = _resident_mib()
    console.print(f"resident memory {report['resident_mib']:.0f} MiB")
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def moving_face(width: int, height: int, count: int, quality: int = 85) -> list[bytes]:
    """Return JPEGs of a face that wanders slowly over a grey wall."""
    data = resources.files("affect.assets").joinpath("astronaut.jpg").read_bytes()
    photo = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    side = int(min(width, height) * 0.9)
    photo = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    jpegs = []
    for k in range(count):
        canvas = np.full((height, width, 3), 110, np.uint8)
        x = int((width - side) * (0.5 + 0.5 * np.sin(k / 30)))
        y = int((height - side) * (0.5 + 0.5 * np.cos(k / 41)))
        canvas[y : y + side, x : x + side] = photo
        jpegs.append(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    return jpegs


def _throughput(pipeline: Pipeline, settings: Settings, jpegs: list[bytes], frames: int) -> dict[str, Any]:
    """Run many sessions' frames through the engine as fast as it goes, then the floor on the same frames."""
    lanes = settings.inference.max_batch
    trackers = [Tracker(settings.vision, phase=k / lanes) for k in range(lanes)]
    engine = build_engine(pipeline, settings)

    def burst(count: int, start: int) -> float:
        began = time.perf_counter()
        futures = []
        for k in range(start, start + count):
            # Each lane is a session at 5 fps: its clock moves .2 s a frame, whatever the wall clock does.
            frame = Frame(k // lanes * 0.2, k, jpegs[k // lanes % len(jpegs)])
            futures.append(engine.submit(FrameJob(frame, trackers[k % lanes])))
        for future in futures:
            future.result()
        return time.perf_counter() - began

    rounds = max(frames // lanes, 4) * lanes
    burst(rounds, 0)
    for stage in pipeline.times.values():
        stage.seconds, stage.items = 0.0, 0
    elapsed = burst(rounds, rounds)
    engine.close()
    floor_decode, floor_forward = _floor(pipeline, jpegs, lanes)
    floor = floor_decode + floor_forward
    stages = {
        name: {
            "ms_per_frame": pipeline.times[name].seconds / rounds * 1000,
            "items_per_frame": pipeline.times[name].items / rounds,
        }
        for name in STAGES
    }
    return {
        "frames": rounds,
        "frames_per_s": rounds / elapsed,
        "ms_per_frame": elapsed / rounds * 1000,
        "floor_ms_per_frame": floor * 1000,
        "floor_decode_ms": floor_decode * 1000,
        "floor_forward_ms": floor_forward * 1000,
        "ratio_to_floor": elapsed / rounds / floor,
        "stages": stages,
    }


def _floor(pipeline: Pipeline, jpegs: list[bytes], batch: int) -> tuple[float, float]:
    """Seconds a frame of decoding on all cores, and of the classifier at full batch."""

    def decode(data: bytes) -> ByteArray:
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    some = [jpegs[k % len(jpegs)] for k in range(200)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, some[:_WARM_FRAMES]))
        decoding = _timed(lambda: list(pool.map(decode, some))) / len(some)
    spec = pipeline.backend.input
    crops = torch.rand(batch, spec.channels, spec.size, spec.size, device=pipeline.device.torch)

    def forward() -> object:
        return classify(pipeline.backend, crops)

    with torch.inference_mode():
        forward()
        forwarding = _timed(lambda: [forward() for _ in range(10)]) / (10 * batch)
    return decoding, forwarding


async def _sessions(
    pipeline: Pipeline,
    settings: Settings,
    host: PluginHost,
    jpegs: list[bytes],
    count: int,
    fps: float,
    seconds: float,
) -> dict[str, Any]:
    """Simulate sessions that send in real time, newest frame wins, with their learner models."""
    engine = build_engine(pipeline, settings)
    began = time.perf_counter()
    latencies: list[float] = []
    totals = {"sent": 0, "dropped": 0}

    async def one(number: int) -> None:
        session = new_session(f"bench-{number}", settings, host)
        await asyncio.sleep(number / count / fps)
        working: asyncio.Task[None] | None = None
        waiting: tuple[Frame, float] | None = None

        async def work() -> None:
            nonlocal waiting
            while waiting is not None:
                frame, arrived = waiting
                waiting = None
                await _observe(engine, session, frame)
                latencies.append(time.perf_counter() - arrived)

        k = 0
        while (now := time.perf_counter() - began) < seconds:
            totals["sent"] += 1
            totals["dropped"] += waiting is not None
            waiting = Frame(now, k, jpegs[(int(now * fps) + number * 7) % len(jpegs)]), time.perf_counter()
            if working is None or working.done():
                working = asyncio.create_task(work())
            k += 1
            await asyncio.sleep(max(0.0, began + number / count / fps + k / fps - time.perf_counter()))
        if working is not None:
            await working

    await asyncio.gather(*(one(number) for number in range(count)))
    elapsed = time.perf_counter() - began
    engine.close()
    settled = np.array(latencies[len(latencies) // 5 :]) * 1000  # the first fifth finds everybody's face
    return {
        "sessions": count,
        "fps": fps,
        "seconds": elapsed,
        "frames_per_s": len(latencies) / elapsed,
        "dropped_share": totals["dropped"] / max(totals["sent"], 1),
        "latency_ms_p50": float(np.percentile(settled, 50)),
        "latency_ms_p95": float(np.percentile(settled, 95)),
        "mean_batch": engine.stats.jobs / max(engine.stats.batches, 1),
    }


async def _observe(engine: Any, session: LearnerSession, frame: Frame) -> None:
    session.observe(await asyncio.wrap_future(engine.submit(FrameJob(frame, session.tracker))))


def _stage_table(report: dict[str, Any], settings: Settings) -> Table:
    table = Table("stage", "ms a frame", "items a frame", title="throughput, all sessions busy", title_justify="left")
    for name, row in report["stages"].items():
        note = f" (sum over {decode_threads(settings)} threads)" if name == "decode" else ""
        table.add_row(name + note, f"{row['ms_per_frame']:.2f}", f"{row['items_per_frame']:.2f}")
    table.add_row("end to end", f"{report['ms_per_frame']:.2f}", f"{report['frames_per_s']:.0f} frames/s")
    table.add_row(
        "floor",
        f"{report['floor_ms_per_frame']:.2f}",
        f"decode {report['floor_decode_ms']:.2f} + forward {report['floor_forward_ms']:.2f}",
    )
    table.add_row("ratio", f"{report['ratio_to_floor']:.2f}", "end to end / floor")
    return table


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _parse_size(size: str) -> tuple[int, int]:
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) >= 64 and int(height) >= 64):
        raise SettingsError(f"--size is WIDTHxHEIGHT, at least 64x64, not {size!r}")
    return int(width), int(height)


def _resident_mib() -> float:
    """Resident memory of this process; peak where the system tells no current figure."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
