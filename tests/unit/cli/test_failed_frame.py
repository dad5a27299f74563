"""What `affect analyze` writes about a frame that failed."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.cli.analyze import Options, run
from affect.errors import ErrorCode
from affect.inference.device import Device
from affect.pipeline import Pipeline, build_engine
from affect.settings import Settings
from affect.testing import FakeBackend, FakeDetector
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Hint


class Dazzled(FakeDetector):
    """A detector that cannot stand white."""

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        self._look(images)
        return super().detect(images, hints)

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        self._look(images)
        return super().refine(images, boxes)

    def _look(self, images: Sequence[ByteArray]) -> None:
        if any(image.mean() > 250 for image in images):
            raise RuntimeError("too bright")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Four frames, the third of them white."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (128, 96))
    for grey in (120, 120, 255, 120):
        writer.write(np.full((96, 128, 3), grey, np.uint8))
    writer.release()
    return path


def test_a_failed_frame_has_an_error_and_no_belief(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.model_validate({"learner": {"estimator": "hmm"}})
    engine = build_engine(Pipeline(Dazzled(), FakeBackend(), Device("cpu", "float32"), settings.vision), settings)
    try:
        assert run([video], tmp_path / "out", settings, Options(plot=False), engine=engine) == 0
    finally:
        engine.close()
    said = capsys.readouterr().out
    assert "4 frames, learner in 3" in said
    assert "1 bad frames" in said
    lines = [json.loads(line) for line in (tmp_path / "out/clip.observations.jsonl").read_text("utf-8").splitlines()]
    assert [line["frame"] for line in lines if "error" in line] == [2]
    good, bad = lines[1], lines[2]
    assert bad["error"]["code"] == ErrorCode.DETECTOR_FAILED
    assert "too bright" in bad["error"]["message"]
    assert set(good) - set(bad) == {"presence", "evidence", "all_faces"}
    assert set(bad) - set(good) == {"error"}
    known = {"t", "frame", "faces", "error"}
    assert {key: value for key, value in bad.items() if key not in known} == dict.fromkeys(set(bad) - known)
    assert (bad["t"], bad["faces"]) == (pytest.approx(0.4), 0)
    with (tmp_path / "out/clip.observations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {key for key, cell in rows[2].items() if cell} == {"file", "t", "frame", "faces", "error"}
    assert rows[1]["emotion_happy"]
