"""`affect serve` in this process, around a fake pipeline: how it ends."""

import os
import signal
import webbrowser
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from support.engine import Engine

from affect.cli import serve
from affect.errors import BackendError, ErrorCode
from affect.settings import Settings

SETTINGS = Settings.model_validate({"service": {"port": 0, "page": ""}})


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, fake_engine: Engine) -> None:
    monkeypatch.setattr(
        serve, "build_pipeline", lambda *_: SimpleNamespace(device=SimpleNamespace(description="a fake"))
    )
    monkeypatch.setattr(serve, "build_engine", lambda *_: fake_engine)
    monkeypatch.setattr(serve, "_LOOK_S", 0.01)


def after_the_start(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let something happen when the service listens: a desktop opens the page then."""
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda _: act())


def test_a_gpu_that_breaks_ends_it_with_an_error(
    monkeypatch: pytest.MonkeyPatch, fake_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "cuda:0 cannot be used any more: CUDA error"
    after_the_start(monkeypatch, lambda: setattr(fake_engine, "broken", reason))
    with pytest.raises(BackendError) as caught:
        serve.run(SETTINGS, open_page=True)
    assert (caught.value.message, caught.value.code) == (reason, ErrorCode.BACKEND_UNAVAILABLE)
    said = capsys.readouterr().out
    assert "websocket ws://" in said
    assert "stopped" not in said


def test_a_signal_ends_it_without(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    after_the_start(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    serve.run(SETTINGS, open_page=True)
    assert "stopped" in capsys.readouterr().out
