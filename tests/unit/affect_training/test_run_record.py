import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from affect_training import module, run
from affect_training.run import open_run
from affect_training.storage import read_checkpoint, save_tensors
from support.runs import differing, facts, log, quiet, weights, write_aux
from support.tiny import TINY, install_tiny, tiny_faces, tiny_split

from affect.errors import CheckpointError, MediaError
from affect.inference.device import Device

from .conftest import Start, start_again


def test_tensorboard_has_the_loss_of_some_steps_and_the_figures_of_all_epochs(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]

    monkeypatch.setattr(module, "LOG_STEPS", 3)
    monkeypatch.setattr(run, "LOG_STEPS", 3)
    one = start()
    one.fit(quiet)
    events = event_accumulator.EventAccumulator(str(one.folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 5, 8, 11]
    for name in ("lr", "train_loss", "public_loss", "public_accuracy", "public_macro_recall"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(int(row["epoch"]), pytest.approx(float(row[name]))) for row in log(one)]


def test_the_provenance_is_written(start: Start) -> None:
    one = start(epochs=2)
    one.fit(quiet, stop_after=1)
    found = facts(one)
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


def test_the_provenance_keeps_what_trained_the_epochs_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start().fit(quiet, stop_after=1)
    start_again(start).fit(quiet, stop_after=1)  # the same commit
    one = start_again(start)
    monkeypatch.setattr(run, "git_commit", lambda: "def")
    one.fit(quiet)
    assert facts(one)["git_commit"] == "def"
    assert facts(one)["earlier"] == [{"epochs": 2, "git_commit": "abc"}]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_lost_provenance_is_written_anew(start: Start, text: str) -> None:
    start().fit(quiet, stop_after=1)
    one = start_again(start)
    (one.folder / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match="not the folder of a run"):
        open_run(one.folder, tiny_faces(), one.device)
    one.fit(quiet)
    assert facts(one)["data_sha256"] == "0" * 64


def test_a_run_is_opened_by_its_folder(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_tiny(monkeypatch)
    one = start(spec=TINY, epochs=1, tables={"model": {"width": 2}})
    one.fit(quiet)
    opened = open_run(one.folder, tiny_faces(), one.device)
    assert (opened.config, opened.state, opened.spec) == (one.config, one.state, TINY)
    assert not differing(dict(opened.best().state_dict()), weights(one, "best.ckpt"))


def test_a_run_is_opened_without_what_it_was_trained_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_tiny(monkeypatch)
    write_aux(tmp_path / "aux" / "more", tiny_split(10, 9))
    one = start(spec=TINY, aux=tmp_path / "aux", epochs=1, tables={"data": {"aux": ["more"]}})
    one.fit(quiet)
    shutil.rmtree(tmp_path / "aux")
    opened = open_run(one.folder, tiny_faces(), one.device)
    assert not differing(dict(opened.best().state_dict()), weights(one, "best.ckpt"))
    with pytest.raises(MediaError, match="expected an auxiliary set 'more', got nothing"):
        _ = opened.training


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match=r"not the folder of a run .*run\.json"):
        open_run(tmp_path, tiny_faces(), cpu)


def test_the_best_epoch_is_that_of_its_weights(start: Start) -> None:
    one = start()
    one.fit(quiet)
    saved = read_checkpoint(one.folder / "best.ckpt", "network")
    assert saved["epoch"] == one.state.best_epoch
    save_tensors({**saved, "epoch": 9}, one.folder / "best.ckpt")  # killed before last.ckpt was written
    one.best()
    assert one.state.best_epoch == 9


def test_a_person_sees_epoch_and_time_left(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("affect_training.run.is_interactive", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    start(epochs=2).fit(quiet)
    shown = capfd.readouterr().out
    assert "Epoch 1/1" in shown
    assert "4/4" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)
