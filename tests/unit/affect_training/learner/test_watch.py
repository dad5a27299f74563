from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.learner.labels import read_labelled
from affect_training.learner.watch import PADDED, SIDE, CropDetector, Watcher, padded

from affect.errors import MediaError
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.testing import FakeDetector
from affect.types import ByteArray, Detection
from affect.vision.detector import Hint

from .conftest import crop, jpeg


class Blind(FakeDetector):
    """Finds nobody."""

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Count the looks."""
        self.detections += len(images)
        return [[] for _ in images]


def nothing(count: int) -> None:
    """Progress nobody watches."""


def test_a_crop_gets_room_and_size() -> None:
    found = padded(jpeg(crop(0.5, size=(90, 120))))
    assert found.shape == (SIDE, SIDE, 3)
    middle = found[SIDE // 6 : -SIDE // 6, SIDE // 4 : -SIDE // 4]
    assert (middle.min(), middle.max()) == (found.min(), found.max())  # around it its border repeats
    large = padded(jpeg(crop(0.5, size=(400, 500))))
    assert large.shape == (round(PADDED * 500), round(PADDED * 500), 3)


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(MediaError, match="is no picture"):
        padded(data)


def test_the_largest_face_is_taken_and_remembered() -> None:
    inside = FakeDetector()
    detector = CropDetector(inside)
    image = padded(jpeg(crop(0.5)))
    first, again = detector.detect([image])[0], detector.detect([image])[0]
    assert inside.detections == 1
    assert len(first) == 1
    np.testing.assert_array_equal(first[0].box, [SIDE / 4, SIDE / 4, SIDE * 3 / 4, SIDE * 3 / 4])
    assert again[0].landmarks is not None
    assert first[0].landmarks is not None
    np.testing.assert_allclose(again[0].landmarks, first[0].landmarks)
    (kept,) = detector.known.values()
    assert CropDetector(Blind(), dict.fromkeys(detector.known, kept)).detect([image])[0][0].score == 1.0


def test_where_nobody_is_found_the_middle_is_taken() -> None:
    blind = Blind()
    detector = CropDetector(blind)
    image = padded(jpeg(crop(0.5)))
    for _ in range(2):
        (face,) = detector.detect([image])[0]
        assert face.landmarks is None
        assert (face.box[0] + face.box[2]) / 2 == pytest.approx(SIDE / 2)
    assert blind.detections == 1
    (middle,) = CropDetector(None).detect([image])[0]
    np.testing.assert_array_equal(middle.box, face.box)


def test_faces_are_seen_by_the_pipeline_itself(
    toy: Path, toy_faces: Path, toy_settings: Settings, tmp_path: Path
) -> None:
    data = read_labelled(toy_faces, "val")
    cache = tmp_path / "cache"
    counted: list[int] = []
    seen = Watcher(toy_settings, PluginHost(), details=True, cache=cache).watch(data, counted.append)
    assert sum(counted) == len(seen) == len(data)
    for (frame,) in seen:
        face = frame.learner
        assert face is not None
        assert face.probabilities is not None
        assert face.embedding is not None
        assert face.pose is not None
    greys = [frame.learner.embedding[0] for (frame,) in seen if frame.learner and frame.learner.embedding is not None]
    assert np.std(greys) > 0.05
    (file,) = cache.iterdir()
    before = file.stat().st_mtime_ns
    again = Watcher(toy_settings, PluginHost(), details=True, cache=cache).watch(data, nothing)
    assert file.stat().st_mtime_ns == before
    assert [frame.learner is not None for (frame,) in again] == [True] * len(data)


def test_details_follow_the_estimator(toy: Path, toy_faces: Path, toy_settings: Settings) -> None:
    data = read_labelled(toy_faces, "val")
    (frame,) = Watcher(toy_settings, PluginHost()).watch(data, nothing)[0]  # no fit yet: nobody reads them
    assert frame.learner is not None
    assert frame.learner.embedding is None


def test_a_damaged_cache_is_made_anew(toy: Path, toy_faces: Path, toy_settings: Settings, tmp_path: Path) -> None:
    data = read_labelled(toy_faces, "val")
    Watcher(toy_settings, PluginHost(), cache=tmp_path / "c").watch(data, nothing)
    (file,) = (tmp_path / "c").iterdir()
    file.write_bytes(b"rubbish")
    assert len(Watcher(toy_settings, PluginHost(), cache=tmp_path / "c").watch(data, nothing)) == len(data)
    assert file.stat().st_size > 1000


def write_video(path: Path, greys: Sequence[float], *, fps: float = 10.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (160, 120))
    for grey in greys:
        writer.write(crop(grey, size=(160, 120)))
    writer.release()
    return path


def test_a_video_is_seen_frame_by_frame(toy: Path, toy_settings: Settings, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [0.3] * 12)
    watcher = Watcher(toy_settings, PluginHost(), details=True)
    frames = watcher.video(path)
    assert [round(frame.t, 2) for frame in frames] == [round(k / 10, 2) for k in range(12)]
    assert all(frame.learner is not None and frame.learner.embedding is not None for frame in frames)
    assert len(watcher.video(path, every=4)) == 3
