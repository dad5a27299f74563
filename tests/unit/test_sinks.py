import json
import logging
import os
import resource
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from affect import hookimpl
from affect.errors import PluginError
from affect.plugins import PluginHost
from affect.registry import Sink, SinkSpec
from affect.settings import PluginSettings
from affect.settings.sinks import JsonlSettings
from affect.sinks import JsonlSink, SinkFanout


class Memory:
    def __init__(self, fail_write: bool = False, fail_close: bool = False) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.threads: set[str] = set()
        self.closed = False
        self.fail_write, self.fail_close = fail_write, fail_close
        self.entered, self.release = threading.Event(), threading.Event()
        self.release.set()

    def write(self, session: str, event: Mapping[str, Any]) -> None:
        self.entered.set()
        assert self.release.wait(60)
        self.threads.add(threading.current_thread().name)
        if self.fail_write:
            raise OSError("disk full")
        self.events.append((session, event))

    def close(self) -> None:
        self.closed = True
        if self.fail_close:
            raise OSError("cannot flush")


def fanout(capacity: int = 100, **sinks: Sink) -> SinkFanout:
    class Plugin:
        @hookimpl
        def register_sinks(self, register: Callable[[SinkSpec], None]) -> None:
            for name, sink in sinks.items():

                def create(_: BaseModel, sink: Sink = sink) -> Sink:
                    return sink

                register(SinkSpec(name, create, ""))

    host = PluginHost(PluginSettings(sinks=tuple(sinks)), entry_points=[], strict=True)
    host.register(Plugin(), "sinks")
    return SinkFanout(host, capacity)


def test_jsonl_appends_a_line_an_event_and_a_file_a_session(tmp_path: Path) -> None:
    for _ in range(2):  # a second run appends
        sink = JsonlSink(JsonlSettings(folder=tmp_path / "events"))
        sink.write("anna", {"id": 1, "text": "naïve"})
        sink.write("ben", {"id": 2})
        sink.close()
    lines = (tmp_path / "events" / "anna.events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"id": 1, "text": "naïve"}] * 2
    assert len((tmp_path / "events" / "ben.events.jsonl").read_text("utf-8").splitlines()) == 2


def test_every_sink_gets_every_event_in_order_in_its_own_thread() -> None:
    a, b = Memory(), Memory()
    sinks = fanout(a=a, b=b)
    for k in range(20):
        sinks.write("s", {"k": k})
    sinks.close()
    assert [event["k"] for _, event in a.events] == list(range(20))
    assert b.events == a.events
    assert (a.threads, b.threads) == ({"sink-a"}, {"sink-b"})
    assert a.closed
    assert b.closed


def test_a_sink_that_falls_behind_loses_its_own_events_and_they_are_counted() -> None:
    slow, fast = Memory(), Memory()
    slow.release.clear()
    sinks = fanout(2, slow=slow, fast=fast)
    sinks.write("s", {"k": 0})
    assert slow.entered.wait(60)  # it holds event 0 now; two more fit into its queue
    assert fast.entered.wait(60)
    for k in (1, 2, 3, 4):
        sinks.write("s", {"k": k})
    slow.release.set()
    sinks.close()
    assert [event["k"] for _, event in slow.events] == [0, 1, 2]
    assert sinks.counts()["slow"] == {"written": 3, "failed": 0, "dropped": 2}


def test_a_sink_that_fails_is_counted_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Memory(fail_write=True), Memory()
    with caplog.at_level(logging.WARNING, "affect.sinks"):
        sinks = fanout(bad=bad, good=good)
        for k in range(12):
            sinks.write("s", {"k": k})
        sinks.close()
    assert sinks.counts() == {
        "bad": {"written": 0, "failed": 12, "dropped": 0},
        "good": {"written": 12, "failed": 0, "dropped": 0},
    }
    assert bad.closed
    told = [record.getMessage() for record in caplog.records]
    assert told == ["sink bad failed (1 times): disk full", "sink bad failed (10 times): disk full"]


def test_a_sink_that_cannot_close_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "affect.sinks"):
        fanout(bad=Memory(fail_close=True)).close()
    assert [r.getMessage() for r in caplog.records] == ["sink bad failed to close: cannot flush"]


def test_a_sink_nobody_registered_is_an_error() -> None:
    host = PluginHost(PluginSettings(sinks=("redis",)), entry_points=[])
    with pytest.raises(PluginError, match="no sink 'redis'"):
        SinkFanout(host)


def test_without_sinks_nothing_happens() -> None:
    sinks = fanout()
    sinks.write("s", {})
    assert sinks.counts() == {}
    sinks.close()


def test_event_files_are_the_operators_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        JsonlSink(JsonlSettings(folder=tmp_path / "events")).write("anna", {"id": 1})
    finally:
        os.umask(before)
    assert (tmp_path / "events").stat().st_mode & 0o077 == 0
    assert (tmp_path / "events" / "anna.events.jsonl").stat().st_mode & 0o077 == 0


def test_a_full_disk_tears_no_line(tmp_path: Path) -> None:
    sink = JsonlSink(JsonlSettings(folder=tmp_path))
    sink.write("anna", {"id": 1})
    size = (tmp_path / "anna.events.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        with pytest.raises(OSError, match="not all of an event"):
            sink.write("anna", {"id": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.write("anna", {"id": 3})
    lines = (tmp_path / "anna.events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 3]


def test_a_folder_that_was_deleted_comes_back(tmp_path: Path) -> None:
    sink = JsonlSink(JsonlSettings(folder=tmp_path / "events"))
    sink.write("anna", {"id": 1})
    shutil.rmtree(tmp_path / "events")
    sink.write("anna", {"id": 2})
    assert json.loads((tmp_path / "events" / "anna.events.jsonl").read_text("utf-8"))["id"] == 2


def test_a_sink_that_is_stuck_at_the_end_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    stuck, good = Memory(), Memory()
    stuck.release.clear()
    sinks = fanout(stuck=stuck, good=good)
    for k in range(5):
        sinks.write("s", {"k": k})
    assert stuck.entered.wait(60)
    with caplog.at_level(logging.WARNING, "affect.sinks"):
        sinks.close(timeout_s=2)
    assert [r.getMessage() for r in caplog.records] == ["sink stuck is stuck; 5 events are lost"]
    assert len(good.events) == 5
    stuck.release.set()
