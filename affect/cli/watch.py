"""`affect watch`: the local webcam in the terminal: emotions, learner states, events as they come."""

import time
from collections import deque
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from affect.cloudevents import CloudEvent
from affect.errors import AffectError
from affect.module import SyncAffectModule
from affect.settings import Settings
from affect.types import Observation
from affect.video import Video

_BAR = 30


def run(settings: Settings, *, camera: int | Path, fps: float, seconds: float | None) -> None:
    """Watch until Ctrl-C, the end of a file, or `seconds` are over. Frames stay in memory.

    Raises:
        AffectError: The camera cannot be opened, or the backend could not be created.
    """
    console = Console(markup=False)
    shown: deque[CloudEvent] = deque(maxlen=8)
    with Video(camera) as video, SyncAffectModule(settings) as module:
        started = last = time.monotonic()
        with Live(Text("waiting for a frame"), console=console, refresh_per_second=8) as live:
            try:
                for frame in video:
                    now = time.monotonic()
                    if seconds is not None and now - started >= seconds:
                        break
                    if isinstance(camera, int):  # a camera runs on its own: skip what comes too fast
                        if now - last < 1 / fps:
                            continue
                    else:
                        time.sleep(max(0.0, started + frame.t - now))
                    last = now
                    t = now - started if isinstance(camera, int) else frame.t
                    try:
                        observation, events = module.push(frame.image, t)
                    except AffectError as exc:
                        live.update(Text(f"{exc.message} [{exc.code}]", style="red"))
                        continue
                    shown.extend(events)
                    live.update(_screen(observation, shown))
            except KeyboardInterrupt:
                pass
        for event in module.end():
            console.print(_event_text(event))


def _screen(observation: Observation, events: deque[CloudEvent]) -> Group:
    estimate, face = observation.estimate, observation.frame.learner
    emotions = (face.emotions() if face else None) or {}
    table = Table.grid(padding=(0, 2))
    for (emotion, p), (state, q) in zip(
        emotions.items() or [("no face", 0.0)] * 7, estimate.state_map().items(), strict=True
    ):
        table.add_row(f"{emotion:9}", _bar(p), f"{state:12}", _bar(q))
    head = f"t {estimate.t:7.1f} s  {estimate.presence.value}  evidence {estimate.evidence.value}"
    if estimate.valence is not None and estimate.arousal is not None:
        head += f"  valence {estimate.valence:+.2f}  arousal {estimate.arousal:+.2f}"
    return Group(Text(head), table, *(_event_text(event) for event in events))


def _bar(p: float) -> str:
    full = round(p * _BAR)
    return f"{'█' * full}{'·' * (_BAR - full)} {p:4.0%}"


def _event_text(event: CloudEvent) -> Text:
    data = event.data
    reason = f" ({data.reason})" if data.reason else ""
    return Text(f"{data.t:7.1f} s  {data.state} {data.phase}{reason}  {data.confidence:.0%}", style="bold")
