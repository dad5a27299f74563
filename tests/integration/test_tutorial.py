"""docs/tutorial-backend.md as a reader follows it: its files written, its commands run, its events received."""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.limits import LIMIT_S
from support.tiny import tiny_faces, write_fer2013

from affect.cli.bench_pipeline import moving_face

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-backend.md"
COMMANDS = {
    "affect": "-m affect",
    "affect-train": "-c 'from affect_training.cli.main import main; main()'",
    "pip": "-m pip --disable-pip-version-check --no-input",
    "python": "",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: a file when its first line is a comment with a path, else commands."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        match = re.match(r"# ([\w./-]+\.(?:py|toml))\n", self.text)
        return match[1] if match else None

    @property
    def lines(self) -> int:
        return sum(bool(line.strip()) for line in self.text.splitlines()[1 if self.file else 0 :])


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


@dataclass(frozen=True)
class Reader:
    """Somebody with a shell: an environment of their own into which this one's packages are seen."""

    home: Path
    env: dict[str, str]
    port: int

    def text(self, block: Block) -> str:
        """Return what a block says, at our port."""
        return block.text.replace("8765", str(self.port))

    def follow(self, block: Block, folder: Path) -> tuple[str, Path]:
        """Run commands; returns what they print and the folder the shell ends in."""
        script = f"set -e\n{self.text(block)}\npwd >&3"
        with (self.home / "where").open("w") as where:
            process = subprocess.Popen(
                ["bash", "-c", f"exec 3>&{where.fileno()}\n{script}"],
                cwd=folder,
                env=self.env,
                pass_fds=[where.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # so that all it started can be ended with it
            )
            try:
                said, _ = process.communicate(timeout=540)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise
        assert process.returncode == 0, f"{block.text}\n{said}"
        return said, Path((self.home / "where").read_text().strip())

    def serve(self, block: Block, folder: Path) -> subprocess.Popen[str]:
        """Start the service of a block and wait until it is ready."""
        with (self.home / "serve.log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.text(block)}"], cwd=folder, env=self.env, stdout=log, stderr=log, text=True
            )
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            if process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10):
                    return process
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        process.kill()
        process.wait(LIMIT_S)
        pytest.fail(f"affect serve was not ready: {(self.home / 'serve.log').read_text()}")


@pytest.fixture
def reader(tmp_path: Path, unused_tcp_port: int) -> Reader:
    """A virtual environment beside ours, offline, with FER2013 in small and a video of a face."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "host.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name, call in COMMANDS.items():
        path = environment / "bin" / name
        target = environment / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        if name == "python":
            continue  # venv has made it
        path.write_text(f'#!/bin/sh\nexec {target} {call} "$@"\n')
        path.chmod(0o755)
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    writer = cv2.VideoWriter(str(tmp_path / "lesson.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for jpeg in moving_face(320, 240, 60):
        writer.write(np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)))
    writer.release()
    (tmp_path / "lesson.avi").rename(tmp_path / "lesson.mp4")
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AFFECT_", "PYTHON", "VIRTUAL_ENV"))},
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "AFFECT_FER2013": str(tmp_path / "fer2013.csv"),
        "AFFECT_SERVICE__PORT": str(unused_tcp_port),
        "COLUMNS": "200",
        # Nothing is fetched: what the package names is here already.
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the switch of a --no-option upside down
        "PYTHONUNBUFFERED": "1",
    }
    return Reader(tmp_path, env, unused_tcp_port)


def test_the_page_is_as_short_as_it_says() -> None:
    count = sum(block.lines for block in blocks() if block.file)
    said = re.search(r"on this page is (\d+) lines", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    assert count == int(said[1])
    assert count < 60


def test_from_mkdir_to_served_events(reader: Reader) -> None:
    folder, printed, service = reader.home, [], None
    try:
        for block in blocks():
            if block.file:
                (folder / block.file).write_text(reader.text(block), encoding="utf-8")
            elif "affect serve" in block.text:
                service = reader.serve(block, folder)
            else:
                said, folder = reader.follow(block, folder)
                printed.append(said)
        assert service is not None
        service.send_signal(signal.SIGTERM)
        assert service.wait(LIMIT_S) == 0
    finally:
        if service is not None and service.poll() is None:
            service.kill()
            service.wait(LIMIT_S)
    made, installed, trained, measured, listened = printed
    assert made == ""
    assert re.search(r"smallnet\s*│ smallnet 0\.1\.0\s*│ loaded", installed)
    assert "epoch  20" in trained
    assert "accuracy" in measured
    assert re.match(r"\s*\d\.\d s  presence present\n", listened), listened
    events = (folder / "results" / "lesson.events.jsonl").read_text(encoding="utf-8")
    assert '"model":"smallnet+' in events
    assert "learner.presence.present" in events
