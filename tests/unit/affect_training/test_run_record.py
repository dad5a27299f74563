import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from affect_training import run
from affect_training.data import FaceData
from affect_training.run_record import DataSet, RunRecord
from support.runs import RESULTS, facts, quiet, record

from affect.errors import CheckpointError, MediaError, SettingsError

from .conftest import Start, start_again

KEYS = [
    "architecture",
    "config",
    "data_set",
    "data_sha256",
    "inputs_sha256",
    "faces",
    "faces_trained_on",
    "made_of",
    "blank_dropped",
    "packages",
    "git_commit",
    "device",
    "processes",
    "aux",
    "earlier",
]

FIRST = {"epochs": 3, "git_commit": "a", "device": "gpu"}
SECOND = {"epochs": 5, "git_commit": "b"}


# The file


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    of = DataSet(kind="folders", name=os.fsdecode(b"caf\xe9"), aux=["web"])
    one = record(data_set=of, inputs_sha256={"votes": "1"}, aux="/a/Gef\u00fchle", git_commit=None)
    one.save(tmp_path)
    assert RunRecord.read(tmp_path) == one
    text = (tmp_path / "run.json").read_text("ascii")
    assert list(json.loads(text)) == KEYS
    assert text == json.dumps(json.loads(text), indent=2) + "\n"


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in RESULTS.glob("*/run.json")), ids=lambda path: path.name
)
def test_records_of_all_versions_are_read_and_nothing_is_added(folder: Path) -> None:
    found = RunRecord.read(folder)
    assert json.dumps(found.model_dump(exclude_unset=True), indent=2) + "\n" == (folder / "run.json").read_text("utf-8")


def test_what_only_another_version_knows_is_kept(tmp_path: Path) -> None:
    written = {**record().model_dump(), "data_set": {"kind": "list", "rows": 3}, "host": "here"}
    (tmp_path / "run.json").write_text(json.dumps(written))
    assert RunRecord.read(tmp_path).model_dump(exclude_unset=True) == written


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b"\xff"])
def test_what_is_no_record_is_refused_by_its_folder(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}: not the folder of a run \(.+\)$"):
        RunRecord.read(tmp_path)


# What a run notes


def test_a_run_notes_what_it_was_given_and_what_trains_it(start: Start) -> None:
    one = start(epochs=2)
    one.fit(quiet, stop_after=1)
    found = facts(one)
    assert list(found) == KEYS
    assert found["architecture"] == "support.tiny:Tiny"
    assert found["config"] == json.loads(one.config.model_dump_json())
    assert found["config"]["train"]["seed"] == 5
    assert found["data_sha256"] == "0" * 64
    assert (found["data_set"], found["inputs_sha256"]) == ({"kind": "fer2013", "name": None, "aux": []}, {})
    assert found["faces"] == {"Training": 64, "PublicTest": 21}
    assert (found["faces_trained_on"], found["blank_dropped"]) == (64, {"Training": 0, "PublicTest": 0})
    assert found["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (found["git_commit"], found["processes"], found["aux"], found["earlier"]) == ("abc", 1, None, [])
    assert found["device"].endswith("float32")


def test_the_record_keeps_what_trained_the_epochs_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start().fit(quiet, stop_after=1)
    start_again(start).fit(quiet, stop_after=1)  # the same commit
    one = start_again(start)
    monkeypatch.setattr(run, "git_commit", lambda: "def")
    one.fit(quiet)
    assert facts(one)["git_commit"] == "def"
    assert facts(one)["earlier"] == [{"epochs": 2, "git_commit": "abc"}]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_lost_record_is_written_anew(start: Start, text: str) -> None:
    start().fit(quiet, stop_after=1)
    one = start_again(start)
    (one.folder / "run.json").write_text(text)
    one.fit(quiet)
    assert facts(one)["data_sha256"] == "0" * 64


def test_a_data_set_is_told_by_kind_and_name(faces: FaceData) -> None:
    assert DataSet.of(faces, ()) == DataSet(kind="fer2013", name=None, aux=[])
    named = FaceData(faces.splits, faces.blank, faces.sha256, "folders", Path("/a/raf"))
    assert DataSet.of(named, ("web",)) == DataSet(kind="folders", name="raf", aux=["web"])


def test_inputs_of_before_are_kept() -> None:
    before = record(inputs_sha256={"votes": "1", "teacher 1": "2"})
    assert record(inputs_sha256={"votes": "1", "initial weights": "3"}).after(before, 4).inputs_sha256 == {
        "votes": "1",
        "teacher 1": "2",
        "initial weights": "3",
    }


@pytest.mark.parametrize(
    ("epochs", "commit", "earlier"),
    [
        (7, "c", [FIRST, SECOND]),
        (7, "d", [FIRST, SECOND, {"epochs": 7, "git_commit": "c"}]),
        (5, "d", [FIRST, SECOND]),  # the sixth epoch was cut
        (4, "d", [FIRST, {"epochs": 4, "git_commit": "b"}]),  # the run has gone back, as in the following
        (4, "b", [FIRST]),
        (2, "d", [{"epochs": 2, "git_commit": "a", "device": "gpu"}]),
        (2, "a", [{"epochs": 2, "device": "gpu"}]),
    ],
)
def test_what_trained_the_epochs_before_is_noted_wherever_a_run_goes_on(
    epochs: int, commit: str, earlier: list[dict[str, Any]]
) -> None:
    before = record(git_commit="c", earlier=[FIRST, SECOND])
    assert record(git_commit=commit).after(before, epochs).earlier == earlier


# What must stay


def test_a_run_is_judged_on_its_own_data() -> None:
    record().check_data(Path("here"), "0" * 64)
    told = "here was trained on data with sha256 0{16}…, this is 1{16}…; name the data of the run"
    with pytest.raises(MediaError, match=told):
        record().check_data(Path("here"), "1" * 64)


@pytest.mark.parametrize(("sha256", "faces"), [("1" * 64, 64), ("0" * 64, 63)])
def test_a_run_goes_on_with_the_same_faces(sha256: str, faces: int) -> None:
    record().check_faces(Path("here"), "0" * 64, 64)
    told = rf"here/run\.json: the run was begun with 64 faces .*, this is {faces} of {sha256[:16]}…"
    with pytest.raises(SettingsError, match=told):
        record().check_faces(Path("here"), sha256, faces)


def test_inputs_that_were_replaced_are_named_and_what_is_not_known_is_not() -> None:
    before = record(inputs_sha256={"votes": "1", "initial weights": "2", "teacher 1": "3"})
    record().check_inputs(Path("here"), {"votes": "9"})
    with pytest.raises(SettingsError, match=r"here/run\.json: .* contents of: votes; .*--fresh"):
        before.check_inputs(Path("here"), {"votes": "9", "initial weights": "2", "teacher 2": "4"})
