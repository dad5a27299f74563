"""Videos in Python: the rows of the CSV as they come."""

from pathlib import Path

import pytest
from support.clips import write_clip
from support.engine import Engine

import affect
from affect.errors import MediaError, SettingsError
from affect.module import SyncAffectModule
from affect.rows import COLUMNS
from affect.settings import Settings


def test_a_video_is_rows_and_events(tmp_path: Path, fake_engine: Engine) -> None:
    clip = write_clip(tmp_path / "a.avi", 30)
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        found = affect.analyze_video(clip, fps=5, module=module)
        rows = list(found)
        again = list(affect.analyze_video(str(clip), fps=5, module=module))
    assert [row["t"] for row in rows] == pytest.approx([k / 5 for k in range(15)])
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {row["evidence"] for row in rows} == {"face"}
    assert found.events[0].phase == "present"
    assert found.facts is not None
    assert (found.facts.frames, found.facts.taken) == (30, 15)
    assert again == rows


def test_a_video_that_is_not_there_or_a_wrong_sampling_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        affect.analyze_video(tmp_path / "gone.mp4")
    with pytest.raises(SettingsError, match="every or fps"):
        affect.analyze_video(write_clip(tmp_path / "a.avi"), fps=5, every=2, settings=Settings())
