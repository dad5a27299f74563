"""`affect analyze` around a fake pipeline: names, records, resuming, and what one bad file costs."""

import csv
import json
import signal
from pathlib import Path

import pytest
from support.clips import write_clip
from support.engine import Engine

from affect.cli.analyze import Options, run, terminable
from affect.cli.outputs import Writer
from affect.errors import SettingsError
from affect.rows import COLUMNS
from affect.settings import Settings
from affect.video import Sampling

QUIET = Options(plot=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_mirrored_and_every_file_has_a_record(tmp_path: Path, fake_engine: Engine) -> None:
    for person in ("P01", "P02"):
        write_clip(tmp_path / "study" / person / "session1.avi")
    out = tmp_path / "out"
    assert run([tmp_path / "study"], out, Settings(), QUIET, engine=fake_engine) == 0
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    suffixes = ("events.csv", "events.jsonl", "observations.csv", "observations.jsonl", "run.json")
    names = [f"{person}/session1.{suffix}" for person in ("P01", "P02") for suffix in suffixes]
    assert written == [*names, "summary.csv"]
    record = json.loads((out / "P01/session1.run.json").read_text())
    assert (record["frames"], record["learner_in"], record["tracks"], record["fps"]) == (10, 10, 1, None)
    assert (record["video"]["frames"], record["video"]["undecodable"], record["video"]["cut_short"]) == (10, 0, False)
    assert record["bytes"] == (tmp_path / "study/P01/session1.avi").stat().st_size


def test_the_csv_says_what_was_measured_and_where_from(tmp_path: Path, fake_engine: Engine) -> None:
    clip = write_clip(tmp_path / "a.avi", 12)
    run([clip], tmp_path / "out", Settings(), QUIET, engine=fake_engine)
    frames = rows(tmp_path / "out/a.observations.csv")
    assert tuple(frames[0]) == COLUMNS
    assert {row["file"] for row in frames} == {str(clip)}
    assert {row["evidence"] for row in frames} == {"face"}
    assert frames[-1]["presence"] == "present"
    assert float(frames[0]["quality"]) > 0
    assert frames[0]["error"] == ""
    events = rows(tmp_path / "out/a.events.csv")
    assert {row["file"] for row in events} == {str(clip)}


def test_a_frame_without_a_face_is_no_measurement(tmp_path: Path, fake_engine: Engine) -> None:
    run([write_clip(tmp_path / "a.avi", face=False)], tmp_path / "out", Settings(), QUIET, engine=fake_engine)
    for row in rows(tmp_path / "out/a.observations.csv"):
        assert (row["evidence"], row["quality"], row["emotion_happy"]) == ("none", "", "")
        assert row["state_neutral"] != ""  # carried over: that is why `evidence` is there


def test_frames_a_second(tmp_path: Path, fake_engine: Engine) -> None:
    clip = write_clip(tmp_path / "a.avi", 20)
    run([clip], tmp_path / "out", Settings(), Options(Sampling(fps=5), plot=False), engine=fake_engine)
    assert [row["t"] for row in rows(tmp_path / "out/a.observations.csv")][:3] == ["0.0", "0.2", "0.4"]


def test_resume_leaves_out_what_is_done_alike(
    tmp_path: Path, fake_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [write_clip(tmp_path / f"{name}.avi") for name in "abc"]
    out, again = tmp_path / "out", Options(plot=False, resume=True)
    run(clips, out, Settings(), QUIET, engine=fake_engine)
    (out / "a.run.json").unlink()  # as if the run had been stopped
    (out / "a.observations.csv.partial").touch()
    write_clip(clips[1], 15)  # another recording by the same name
    capsys.readouterr()
    assert run(clips, out, Settings(), again, engine=fake_engine) == 0
    said = capsys.readouterr().out.splitlines()
    assert ["done before" in line for line in said] == [False, False, True]
    assert not list(out.glob("*.partial"))
    assert [row["frames"] for row in rows(out / "summary.csv")] == ["10", "15", "10"]
    (out / "c.observations.csv").unlink()
    run(clips, out, Settings(), again, engine=fake_engine)
    assert ["done before" in line for line in capsys.readouterr().out.splitlines()] == [True, True, False]
    run(clips, out, Settings(), Options(Sampling(2), plot=False, resume=True), engine=fake_engine)
    assert "done before" not in capsys.readouterr().out


def test_results_of_another_file_are_not_replaced(
    tmp_path: Path, fake_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_clip(tmp_path / "a/x.avi"), write_clip(tmp_path / "b/x.avi", 12)
    assert run([first], tmp_path / "out", Settings(), QUIET, engine=fake_engine) == 0
    assert run([second], tmp_path / "out", Settings(), QUIET, engine=fake_engine) == 1
    assert f"are of {first}: choose another folder" in capsys.readouterr().err
    assert len(rows(tmp_path / "out/x.observations.csv")) == 10


def test_no_file_ends_a_batch(tmp_path: Path, fake_engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/empty.mp4").touch()
    write_clip(tmp_path / "v/Zo\udceb.avi")
    write_clip(tmp_path / "v/z.avi")
    out = tmp_path / "out"
    (out / "z.observations.csv.partial").mkdir(parents=True)  # something that is no error of ours
    assert run([tmp_path / "v"], out, Settings(), QUIET, engine=fake_engine) == 1
    assert len(rows(out / "Zo\udceb.observations.csv")) == 10
    said = capsys.readouterr()
    assert r"Zo\xeb.avi: 10 frames" in said.out
    (empty,) = [line for line in said.err.splitlines() if "cannot be opened" in line]
    assert empty.count("empty.mp4") == 1
    assert {row["name"]: row["status"] for row in rows(out / "summary.csv")} == {
        r"Zo\xeb": "done",
        "empty": "failed",
        "z": "failed",
    }


def test_a_summary_keeps_the_inputs_of_earlier_runs(tmp_path: Path, fake_engine: Engine) -> None:
    for name in "ab":
        clip = write_clip(tmp_path / f"{name}.avi")
        run([clip], tmp_path / "out", Settings(), QUIET, engine=fake_engine)
    assert [row["name"] for row in rows(tmp_path / "out/summary.csv")] == ["a", "b"]


def test_a_summary_that_cannot_be_written_costs_itself(
    tmp_path: Path, fake_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/summary.csv.partial").mkdir(parents=True)
    assert run([write_clip(tmp_path / "a.avi")], tmp_path / "out", Settings(), QUIET, engine=fake_engine) == 0
    assert "summary.csv: " in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, fake_engine: Engine) -> None:
    clip = write_clip(tmp_path / "a.avi")
    with pytest.raises(SettingsError, match=r"-o .*a\.avi/out"):
        run([clip], clip / "out", Settings(), QUIET, engine=fake_engine)


def test_sigterm_leaves_no_half_file(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def killed() -> None:
        with terminable(), Writer(tmp_path / "a.csv") as file:
            file.write("half a line")
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        killed()
    assert caught.value.code == 143
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before
