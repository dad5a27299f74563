"""The command line as a user runs it: real files, real weights, real outputs."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.limits import LIMIT_S

from affect.cli.bench_pipeline import moving_face
from affect.labels import EMOTIONS, STATES

AFFECT = [sys.executable, "-m", "affect"]


def affect(
    *arguments: str | Path, code: int = 0, timeout: float = LIMIT_S, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command; its exit code must be `code`."""
    result = subprocess.run(
        [*AFFECT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "COLUMNS": "200", **env},
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video of four seconds, a picture, and a text file that is neither."""
    folder = tmp_path_factory.mktemp("media")
    frames = moving_face(320, 240, 60)
    writer = cv2.VideoWriter(str(folder / "face.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 15, (320, 240))
    for jpeg in frames:
        writer.write(np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)))
    writer.release()
    (folder / "still.jpg").write_bytes(frames[0])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def analysed(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    affect("analyze", media, "-o", out)
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_analyze_writes_one_line_a_frame(analysed: Path) -> None:
    observations = lines(analysed / "face.observations.jsonl")
    assert [line["frame"] for line in observations] == list(range(60))
    times = [line["t"] for line in observations]
    assert times == pytest.approx([k / 15 for k in range(60)], abs=0.01)
    for line in observations:
        assert line["faces"] == 1
        assert line["track_id"] == 1
        assert set(line["emotions"]) == {e.value for e in EMOTIONS}
        assert sum(line["emotions"].values()) == pytest.approx(1, abs=1e-3)
        assert set(line["states"]) == {s.value for s in STATES}
        x0, y0, x1, y1 = line["box"]
        assert 0 <= x0 < x1 <= 320
        assert 0 <= y0 < y1 <= 240
        assert line["emotions"]["happy"] > 0.5  # she smiles
    assert observations[-1]["valence"] > 0.4


def test_analyze_writes_cloudevents_csv_and_plots(analysed: Path, media: Path) -> None:
    events = lines(analysed / "face.events.jsonl")
    assert [e["data"]["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "org.tutor-affect.learner.presence.present.v1"
    assert {e["subject"] for e in events} == {"face"}
    opened = [e["data"]["state"] for e in events if e["data"]["phase"] == "onset"]
    closed = [e["data"]["state"] for e in events if e["data"]["phase"] == "offset"]
    assert "delight" in opened
    assert sorted(opened) == sorted(closed)  # the end of the file ends what was open
    rows = table(analysed / "face.events.csv")
    names = ["seq", "state", "phase", "confidence", "t", "t_start", "t_end", "reason", "evidence"]
    assert list(rows[0]) == ["file", *names]
    assert {row.pop("file") for row in rows} == {str(media / "face.avi")}
    told = [{name: "" if e["data"][name] is None else str(e["data"][name]) for name in names} for e in events]
    assert rows == told
    rows = table(analysed / "face.observations.csv")
    assert len(rows) == 60
    assert float(rows[5]["emotion_happy"]) > 0.5
    with Image.open(analysed / "face.timeline.png") as plot:
        assert min(plot.size) > 300
    assert (analysed / "face.timeline.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_analyze_of_a_picture_is_one_line_without_a_plot(analysed: Path) -> None:
    (line,) = lines(analysed / "still.observations.jsonl")
    assert line["emotions"]["happy"] > 0.5
    assert not (analysed / "still.timeline.png").exists()
    assert not list(analysed.glob("notes*"))
    assert not list(analysed.glob("*.partial"))


def test_analyze_goes_on_after_a_bad_file_and_says_so(tmp_path: Path, media: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no jpeg")
    (tmp_path / "broken.mp4").write_bytes(b"no video either")
    result = affect(
        "analyze",
        tmp_path / "broken.jpg",
        tmp_path / "broken.mp4",
        media / "still.jpg",
        "-o",
        tmp_path / "out",
        code=1,
    )
    assert "broken.jpg" in result.stderr
    assert "broken.mp4" in result.stderr
    assert (tmp_path / "out" / "still.observations.jsonl").exists()


def test_analyze_says_that_a_video_was_cut_short(tmp_path: Path, media: Path) -> None:
    whole = (media / "face.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    said = affect("analyze", tmp_path / "cut.avi", media / "face.avi", "-o", tmp_path / "out", "--no-plot").stdout
    cut, complete = (next(line for line in said.splitlines() if name in line) for name in ("cut.avi", "face.avi"))
    frames = len(lines(tmp_path / "out" / "cut.observations.jsonl"))
    assert frames < 40
    assert "cut short: ends at " in cut
    assert "of the 4.0 s that it announces" in cut
    assert "cut short" not in complete


def test_analyze_every_and_another_backend(media: Path, tmp_path: Path) -> None:
    affect(
        "analyze",
        media / "face.avi",
        "-o",
        tmp_path,
        "--every",
        "20",
        "--backend",
        "template-mirror",
        "--no-plot",
    )
    observations = lines(tmp_path / "face.observations.jsonl")
    assert [line["frame"] for line in observations] == [0, 20, 40]
    assert "template-mirror+fitted" in lines(tmp_path / "face.events.jsonl")[0]["data"]["model"]


def test_analyze_classifies_the_others_only_with_all_faces(media: Path, tmp_path: Path) -> None:
    face = np.asarray(cv2.imread(str(media / "still.jpg")))
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([face, face]))
    for folder, options, classified in (("one", [], 1), ("all", ["--all-faces"], 2)):
        affect("analyze", tmp_path / "two.png", "-o", tmp_path / folder, *options)
        (line,) = lines(tmp_path / folder / "two.observations.jsonl")
        assert line["faces"] == 2
        assert len({face["track_id"] for face in line["all_faces"]}) == 2
        assert sum(face["emotions"] is not None for face in line["all_faces"]) == classified
        (learner,) = [face for face in line["all_faces"] if face["track_id"] == line["track_id"]]
        assert (learner["box"], learner["emotions"]) == (line["box"], line["emotions"])


def test_analyze_with_the_haar_detector(media: Path, tmp_path: Path) -> None:
    affect("analyze", media / "still.jpg", "-o", tmp_path, "--detector", "haar")
    (line,) = lines(tmp_path / "still.observations.jsonl")
    assert line["landmarks"] is None
    assert line["pose"] is None
    assert sum(line["emotions"].values()) == pytest.approx(1, abs=1e-3)


def test_analyze_of_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in affect("analyze", tmp_path / "gone.mp4", "-o", tmp_path, code=1).stderr


def test_watch_a_file_in_the_terminal(media: Path) -> None:
    out = affect("watch", "--video", media / "face.avi").stdout
    assert "happy" in out
    assert "delight offset (session_end)" in out


def test_plugins_lists_without_loading_torch() -> None:
    listed = json.loads(affect("plugins", "--json").stdout)
    by_name = {plugin["name"]: plugin for plugin in listed}
    assert by_name["cnn"]["provides"]["backends"] == ["cnn", "compact"]
    assert by_name["builtin"]["provides"]["detectors"] == ["mtcnn", "haar", "yunet"]
    assert by_name["template"]["status"] == "loaded"
    schemas = json.loads(affect("plugins", "--schema").stdout)
    assert "redetect" not in schemas["detectors"]["mtcnn"]["properties"]
    assert "min_face" in schemas["detectors"]["mtcnn"]["properties"]


def test_plugins_can_be_blocked_by_the_environment() -> None:
    listed = json.loads(affect("plugins", "--json", AFFECT_DISABLE_PLUGINS="template").stdout)
    assert {p["name"]: p["status"] for p in listed}["template"] == "blocked"


def test_doctor_tells_device_weights_and_origins(tmp_path: Path) -> None:
    (tmp_path / "affect.toml").write_text("[vision]\nredetect_s = 2.5\n[plugins.hmm]\ntau_c_s = 3.5\n")
    result = affect(
        "--config",
        tmp_path / "affect.toml",
        "--set",
        "service.port=9000",
        "doctor",
        "--json",
        AFFECT_VISION__SEARCH_S="0.25",
    )
    report = json.loads(result.stdout)
    assert report["check"]["pipeline"].startswith("ok")
    assert re.search(r"PublicTest accuracy .*, power [\d.]+, sha256 [0-9a-f]{12}$", report["weights"]["cnn"])
    rows = {row["key"]: row for row in report["settings"]}
    assert rows["vision.redetect_s"]["origin"] == str(tmp_path / "affect.toml")
    assert rows["vision.search_s"] == {
        **rows["vision.search_s"],
        "value": "0.25",
        "origin": "$AFFECT_VISION__SEARCH_S",
    }
    assert rows["service.port"]["origin"] == "command line"
    assert rows["plugins.hmm.tau_c_s"]["value"] == "3.5"


def test_doctor_as_people_read_it_and_with_a_table_of_nobody() -> None:
    shown = affect("doctor").stdout
    for part in ("versions", "device", "plugins", "weights", "learner", "check", "settings: all at their defaults"):
        assert part in shown
    assert "ok, one noise frame went through" in shown
    wrong = affect("--set", "plugins.mtccn.min_face=0.2", "doctor", code=1)
    assert "[plugins.mtccn]" in wrong.stdout
    assert "did you mean 'mtcnn'" in wrong.stdout


def test_doctor_shows_every_setting_with_its_source() -> None:
    report = json.loads(affect("doctor", "--all", "--json").stdout)
    rows = {row["key"]: row for row in report["settings"]}
    assert rows["learner.events.enter"]["origin"] == "default"
    assert "simulation" in rows["learner.events.enter"]["source"]


def test_doctor_fails_when_a_plugin_failed(tmp_path: Path) -> None:
    (tmp_path / "affect_broken.py").write_text("raise RuntimeError('half installed')\n")
    folder = tmp_path / "affect_broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: affect-broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[affect]\nbroken = affect_broken\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    report = json.loads(affect("doctor", "--json", code=1, PYTHONPATH=path).stdout)
    assert report["plugins"]["broken"].startswith("failed: ")
    assert "half installed" in report["plugins"]["broken"]
    assert report["check"]["pipeline"].startswith("ok")  # nothing else is wrong


def test_doctor_masks_tokens() -> None:
    for options in (["--all"], ["--json"]):
        result = affect("--set", "service.token=open-sesame", "doctor", *options)
        assert "service.token" in result.stdout
        assert "**********" in result.stdout
        assert "sesame" not in result.stdout + result.stderr


def test_a_misspelt_setting_is_answered_with_the_right_one() -> None:
    result = affect("--set", "vision.redetct_s=2", "doctor", code=1)
    assert "did you mean vision.redetect_s" in result.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import affect",
        "from affect.cli.main import cli",
        "import affect.learner.model",
        "from affect.plugins import PluginHost; PluginHost()",
        "from affect.cli import plugins",
    ],
)
def test_cheap_imports_stay_cheap(statement: str) -> None:
    check = f"import sys\n{statement}\nprint([m for m in ('torch', 'cv2', 'websockets') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert result.stdout.strip() == "[]"


def test_bench_learner_beats_the_rivals(tmp_path: Path) -> None:
    """Every case, small: the estimator has the best event-F1, and is as steady as the steadiest rival."""
    affect("bench", "learner", "--sessions", "12", "--seed", "11", "--json", tmp_path / "bench.json", timeout=600)
    cases = json.loads((tmp_path / "bench.json").read_text())
    assert set(cases) >= {"as modelled", "half-lives x2", "half-lives x0.5", "30 % missing"}
    for case, scores in cases.items():
        ours = scores.pop("this estimator")
        prior = scores.pop("base rates alone")
        chance = scores.pop("this estimator, another learner")
        assert chance["event_f1"] < 0.7 * ours["event_f1"], case
        told, both = scores.pop("host evidence only"), scores.pop("face and host evidence")
        assert told["event_f1"] < both["event_f1"], case
        assert ours["event_f1"] > max(s["event_f1"] for s in scores.values()), case
        # With every third frame missing a mean of frames is as steady: it does nothing while none comes.
        room = 1.15 if case == "30 % missing" else 1.0
        assert ours["switches_per_minute"] < room * min(s["switches_per_minute"] for s in scores.values()), case
        if case in ("as modelled", "half-lives x2", "30 % missing"):
            assert ours["nll"] < prior["nll"], case
            assert both["nll"] < ours["nll"] + 0.01, case  # what the host tells helps, on top of the face


def test_bench_pipeline_runs_and_reports_ratios(tmp_path: Path) -> None:
    affect(
        "bench",
        "pipeline",
        "--frames",
        "64",
        "--sessions",
        "4",
        "--seconds",
        "2",
        "--json",
        tmp_path / "bench.json",
    )
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["ratio_to_floor"] > 0
    assert set(report["stages"]) == {"decode", "detect", "track", "crop", "classify"}
    assert report["sessions"]["frames_per_s"] > 0


def test_help_of_every_command() -> None:
    for command in (["--help"], ["serve", "--help"], ["bench", "pipeline", "--help"]):
        out = io.StringIO(affect(*command).stdout)
        assert "Usage" in out.read()
