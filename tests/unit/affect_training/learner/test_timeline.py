import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_training.cli.learner import learner
from affect_training.learner.timeline import evaluate, is_timeline, read_timeline
from click.testing import CliRunner

from affect.errors import MediaError, SettingsError
from affect.labels import EMOTIONS, LearnerState
from affect.plugins import PluginHost
from affect.settings import Settings

from .test_watch import nothing, write_video

HEAD = "session,start_s,end_s,state\n"


def observation(t: float, number: int, emotion: str | None) -> dict[str, Any]:
    """A line of `affect analyze`."""
    emotions = {e.value: 0.94 if e.value == emotion else 0.01 for e in EMOTIONS}
    face = {"box": [10, 10, 90, 90], "track_id": 1, "landmarks": None, "pose": None, "quality": 1.0}
    nobody = dict.fromkeys([*face, "emotions"])
    return {"t": t, "frame": number, **(nobody if emotion is None else {**face, "emotions": emotions})}


def write(folder: Path, rows: str, lines: Mapping[str, Sequence[str | None]], fps: float = 5.0) -> Path:
    """Write a time line and one observations file a session."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "timeline.csv").write_text(rows, encoding="utf-8")
    for name, emotions in lines.items():
        text = "\n".join(json.dumps(observation(k / fps, k, e)) for k, e in enumerate(emotions))
        (folder / f"{name}.observations.jsonl").write_text(text + "\n", encoding="utf-8")
    return folder


def delighted() -> list[str]:
    """A minute of neutral face, half of one of smiles, and neutral again, at 5 frames a second."""
    return [*["neutral"] * 300, *["happy"] * 150, *["neutral"] * 300]


HMM = Settings.model_validate({"learner": {"estimator": "hmm"}, "inference": {"backend": "bare"}})


def test_an_event_at_the_right_time_is_a_hit(toy: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d", HEAD + "a,60,90,delight\n", {"a": delighted()})
    assert is_timeline(folder)
    report = evaluate(read_timeline(folder, "all"), HMM, PluginHost(), nothing)
    own = report["events"]["delight"]
    assert (own["hits"], own["misses"], own["false_alarms"]) == (1, 0, 0)
    assert own["event_f1"] == 1.0
    assert 0 < own["onset_p50_s"] < 10
    assert report["hours"] == pytest.approx(749 / 5 / 3600)
    assert report["events"]["all"]["hits"] == 1


def test_an_event_at_the_wrong_time_is_a_false_alarm_and_a_miss(toy: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d", HEAD + "a,5,25,delight\n", {"a": delighted()})
    own = evaluate(read_timeline(folder, "all"), HMM, PluginHost(), nothing)["events"]["delight"]
    assert (own["hits"], own["misses"], own["false_alarms"]) == (0, 1, 1)
    assert own["onset_p50_s"] is None
    assert own["false_alarms_per_hour"] == pytest.approx(1 / (749 / 5 / 3600))


def test_host_evidence_is_told_at_its_time(toy: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d", HEAD + "a,20,60,frustration\n", {"a": ["neutral"] * 300})
    without = evaluate(read_timeline(folder, "x"), HMM, PluginHost(), nothing)
    rows = "\n".join(f"a,{t},typed_frustration" for t in (21, 31, 41))
    (folder / "evidence.csv").write_text(f"session,t,kind\n{rows}\n", encoding="utf-8")
    told = evaluate(read_timeline(folder, "x"), HMM, PluginHost(), nothing)
    assert told["nll"] < without["nll"] - 0.05


def test_a_video_runs_through_the_pipeline(toy: Path, toy_settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    write_video(folder / "a.avi", [0.3] * 30)
    (folder / "timeline.csv").write_text(HEAD + "a,0.5,1,boredom\n", encoding="utf-8")
    report = evaluate(read_timeline(folder, "all"), toy_settings, PluginHost(), nothing, every=2)
    assert report["sessions"] == 1
    assert report["hours"] == pytest.approx(2.8 / 3600, rel=1e-3)  # fifteen frames of thirty, a fifth of a second apart


def test_a_comma_at_the_end_of_a_row_is_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", HEAD + "a,1,2,delight,\na,4,5,boredom, ,\n", {})
    (session,) = read_timeline(folder, "all")
    assert [segment.start for segment in session.truth] == [1, 4]
    (folder / "timeline.csv").write_text(HEAD + "a,1,2,delight\na,4,5,boredom,train\n", encoding="utf-8")
    with pytest.raises(MediaError, match=r"timeline\.csv, row 3: more cells than columns: train"):
        read_timeline(folder, "all")


def test_splits_are_kept_apart(tmp_path: Path) -> None:
    rows = "session,start_s,end_s,state,split\na,1,2,boredom,train\nb,1,2,boredom,test\nb,3,4,confusion,test\n"
    folder = write(tmp_path, rows, {"a": ["neutral"], "b": ["neutral"]})
    (found,) = read_timeline(folder, "test")
    assert found.name == "b"
    assert [segment.state for segment in found.truth] == [LearnerState.BOREDOM, LearnerState.CONFUSION]
    with pytest.raises(SettingsError, match="no split 'val'; it has test, train"):
        read_timeline(folder, "val")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1,2,happiness\n", "no state 'happiness'; known: neutral, engagement"),
        ("a,2,1,boredom\n", "a segment from 2.0 to 1.0 s"),
        ("a,x,1,boredom\n", "'x' is no number of seconds"),
        ("a,1,nan,boredom\n", "'nan' is no number of seconds"),
        ("", "no rows"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        read_timeline(write(tmp_path, HEAD + rows, {"a": ["neutral"]}), "all")


def test_a_session_that_nobody_saw_is_named(toy: Path, tmp_path: Path) -> None:
    found = read_timeline(write(tmp_path, HEAD + "a,1,2,boredom\n", {}), "all")
    with pytest.raises(MediaError, match=r"neither a video a\.\* nor a\.observations\.jsonl"):
        evaluate(found, HMM, PluginHost(), nothing)


def test_evidence_of_unknown_sessions_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, HEAD + "a,1,2,boredom\n", {"a": ["neutral"]})
    (folder / "evidence.csv").write_text("session,t,kind\nzoe,1,hint_request\n", encoding="utf-8")
    with pytest.raises(MediaError, match="session 'zoe' is not in"):
        read_timeline(folder, "all")


def test_the_command_takes_time_lines_too(toy: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "d", HEAD + "a,60,90,delight\n", {"a": delighted()})
    out = tmp_path / "events.json"
    arguments = ["evaluate", "--data", str(folder), "--split", "all", "--json", str(out)]
    result = CliRunner().invoke(
        learner, [*arguments, "--backend", "bare", "--estimator", "hmm"], catch_exceptions=False
    )
    assert result.exit_code == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["events"]["delight"]["event_f1"] == 1.0
    assert np.isfinite(report["nll"])
    assert "delight" in result.output
