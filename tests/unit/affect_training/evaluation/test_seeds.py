import json
from pathlib import Path
from typing import Any

import pytest
from affect_training.evaluation.seeds import read_figures, summarise
from support.runs import record

from affect.errors import MediaError, SettingsError

HEADER = "epoch,lr,train_loss,public_loss,public_accuracy,public_macro_recall,seconds\n"


def run(folder: Path, rows: str, *, select: str = "accuracy", data: str = "aa", **train: Any) -> Path:
    folder.mkdir()
    config = {"recipe": "tiny", "model": {}, "train": {"select": select, "epochs": rows.count("\n"), **train}}
    record(config=config, data_sha256=data).save(folder)
    (folder / "log.csv").write_text(HEADER + rows)
    return folder


def scores(path: Path, accuracy: float, **changes: Any) -> Path:
    report = {"backend": "x", "split": "PublicTest", "tta": "none", "accuracy": accuracy, "nll": 1.0, "kappa": 0.5}
    path.write_text(json.dumps({**report, **changes}))
    return path


def test_a_run_is_told_by_its_best_epoch(tmp_path: Path) -> None:
    rows = "1,.1,2,1.5,.40,.30,9\n2,.1,2,1.2,.60,.40,18\n3,.1,2,1.1,.59,.50,27\n4,.1,2,1.3,.60,.1,30\n"
    found = read_figures(run(tmp_path / "a", rows))
    assert found.values == {"accuracy": 0.6, "macro_recall": 0.4, "loss": 1.2, "best_epoch": 2}
    assert (found.split, found.tta, found.data_sha256, found.n) == ("PublicTest", "none", "aa", 21)
    balanced = read_figures(run(tmp_path / "b", rows, select="balanced"))
    assert balanced.values["best_epoch"] == 3


def test_seeds_are_summarised(tmp_path: Path) -> None:
    runs = [run(tmp_path / str(s), f"1,.1,2,1.{s},.6{s},.5,9\n", seed=s) for s in range(3)]
    found = summarise(runs)
    assert found.figures["accuracy"].mean == pytest.approx(0.61)
    assert found.figures["accuracy"].sd == pytest.approx(0.01)
    assert found.figures["macro_recall"].sd == 0
    assert found.notes == ()


def test_what_is_more_than_another_seed_is_noted(tmp_path: Path) -> None:
    first = run(tmp_path / "a", "1,.1,2,1,.6,.5,9\n", seed=0, lr=0.1)
    second = run(tmp_path / "b", "1,.1,2,1,.7,.5,9\n", seed=1, lr=0.2)
    twin = run(tmp_path / "c", "1,.1,2,1,.7,.5,9\n", seed=1, lr=0.2)
    assert summarise([first, second]).notes == ("the runs differ in more than the seed: train.lr",)
    assert summarise([second, twin]).notes == ("the same seed occurs more than once: 1, 1",)


ROWS = "1,.1,2,1.5,.40,.30,9\n2,.1,2,1.2,.60,.40,18\n3,.1,2,1.3,.59,.50,27\n4,.1,2,1.4,.61,.1,30\n"


@pytest.mark.parametrize(
    ("train", "unfinished"),
    [
        ({"epochs": 4}, False),
        ({"epochs": 9}, True),
        ({"epochs": 9, "stop_epochs": 2}, False),  # the loss was lowest two epochs ago
        ({"epochs": 9, "stop_epochs": 3}, True),
        ({"epochs": 9, "stop_epochs": 2, "watch": "accuracy"}, True),  # the last epoch was the best
    ],
)
def test_a_run_that_is_not_at_its_end_is_noted(tmp_path: Path, train: dict[str, Any], unfinished: bool) -> None:
    folder = run(tmp_path / "a", ROWS, **train)
    expected = (f"{folder} is not finished: it stands after epoch 4 of 9",) if unfinished else ()
    assert summarise([folder]).notes == expected


def test_the_same_weights_under_two_names_are_noted(tmp_path: Path) -> None:
    first = scores(tmp_path / "a.json", 0.6, weights_sha256="aa")
    second = scores(tmp_path / "b.json", 0.6, weights_sha256="aa")
    assert summarise([first, second]).notes == ("the same weights were judged more than once",)


def test_evaluations_are_summarised_by_what_all_have(tmp_path: Path) -> None:
    found = summarise([scores(tmp_path / "a.json", 0.6, macro_f1=0.5), scores(tmp_path / "b.json", 0.7)])
    assert list(found.figures) == ["accuracy", "kappa", "nll"]
    assert found.figures["accuracy"].mean == pytest.approx(0.65)


@pytest.mark.parametrize(
    "change", [{"split": "PrivateTest"}, {"tta": "mirror"}, {"data_sha256": "bb"}, {"n": 500}, {"limit": 3588}]
)
def test_what_was_not_measured_alike_is_not_averaged(tmp_path: Path, change: dict[str, Any]) -> None:
    alike = {"data_sha256": "aa", "n": 3588}
    first = scores(tmp_path / "a.json", 0.6, **alike)
    second = scores(tmp_path / "b.json", 0.7, **{**alike, **change})
    with pytest.raises(SettingsError, match=f"differ in {next(iter(change))}: .*a.json: .*b.json: "):
        summarise([first, second])


def test_a_run_counts_once(tmp_path: Path) -> None:
    path = scores(tmp_path / "a.json", 0.6)
    with pytest.raises(SettingsError, match="one twice"):
        summarise([path, tmp_path / "." / "a.json"])


def test_what_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MediaError, match=r"run\.json: expected a run folder"):
        read_figures(empty)
    (empty / "run.json").write_text("{}")
    with pytest.raises(MediaError, match=r"run\.json: expected a run folder"):
        read_figures(empty)
    unlogged = run(tmp_path / "unlogged", "")
    (unlogged / "log.csv").unlink()
    with pytest.raises(MediaError, match=r"no log\.csv"):
        read_figures(unlogged)
    with pytest.raises(MediaError, match="at least one epoch"):
        read_figures(run(tmp_path / "unstarted", ""))
    with pytest.raises(MediaError, match="columns public_accuracy"):
        read_figures(run(tmp_path / "cut", "1,.1,2,1.5,.4\n"))
    text = tmp_path / "a.txt"
    text.write_text("hello")
    with pytest.raises(MediaError, match=r"a.txt: expected a run folder or the JSON"):
        read_figures(text)
    other = tmp_path / "other.json"
    other.write_text("[]")
    with pytest.raises(MediaError, match="expected a JSON object, got list"):
        read_figures(other)
    other.write_text('{"accuracy": 0.5}')
    with pytest.raises(MediaError, match="which has split, tta and accuracy"):
        read_figures(other)
    with pytest.raises(MediaError, match=r"missing.json: expected"):
        read_figures(tmp_path / "missing.json")
