import csv
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training import run, tune
from affect_training.config import read_run_file, run_config
from affect_training.data.training import training_set
from affect_training.run import Run
from affect_training.search_space import parse_space
from affect_training.storage import UnwrittenError, alone
from affect_training.tune import Method, Prune, StudySpec, Tuning, score_of
from support.tiny import TINY, install_tiny, tiny_faces

from affect.errors import SettingsError
from affect.inference.device import Device

SEARCH = ("lr=log:0.0001:0.1", "model.dropout=0.1:0.5", "batch_size=16,32")
Open = Callable[..., Tuning]


@pytest.fixture
def open_study(monkeypatch: pytest.MonkeyPatch, cpu: Device, tmp_path: Path) -> Open:
    """Open a study of the tiny recipe in a folder of that name."""
    install_tiny(monkeypatch)

    def make(
        name: str = "study",
        *,
        search: tuple[str, ...] = SEARCH,
        method: Method = "random",
        prune: Prune = "none",
        epochs: int = 2,
        **base: Any,
    ) -> Tuning:
        spec = StudySpec(TINY, base, parse_space(search), epochs, method, prune)
        return Tuning(tmp_path / name, spec, tiny_faces(), cpu)

    return make


def quiet(_: str) -> None:
    """Report to nobody."""


class Killed(BaseException):
    """What a test kills a study with."""


def kill_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process, as it were, in the middle of the epoch's report number `count`."""
    calls = iter(range(count))

    def score(result: Any, config: Any) -> float:
        if next(calls, None) is None:
            raise Killed
        return score_of(result, config)

    monkeypatch.setattr(tune, "score_of", score)


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_killed_study_ends_like_an_unbroken_one(
    method: Method, open_study: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "TPE_STARTUP", 1)  # so that TPE itself draws the second and third
    whole = open_study("whole", method=method)
    whole.run(3, quiet)
    broken = open_study("broken", method=method)
    with monkeypatch.context() as patched:
        kill_after(3, patched)  # in the second epoch of the second trial
        with pytest.raises(Killed):
            broken.run(3, quiet)
    again = open_study("broken", method=method)
    assert [row.state for row in again.rows()].count("running") == 1
    again.run(3, quiet)
    assert again.rows() == whole.rows()
    assert {row.epochs for row in whole.rows()} == {2}
    assert len({str(row.drawn) for row in whole.rows()}) == 3


def test_tpe_learns_from_the_trials_before(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "TPE_STARTUP", 1)
    learnt, drawn = open_study("learnt", method="tpe", epochs=1), open_study("drawn", method="random", epochs=1)
    for study in (learnt, drawn):
        study.run(2, quiet)
    first, second = ([row.drawn for row in sorted(s.rows(), key=lambda row: row.number)] for s in (learnt, drawn))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_a_grid_visits_every_point_once_and_ends(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    search = ("lr=0.01,0.02", "model.width=2:4:2")
    killed = open_study(search=search, method="grid", epochs=1)
    with monkeypatch.context() as patched:
        kill_after(2, patched)
        with pytest.raises(Killed):
            killed.run(99, quiet)
    study = open_study(search=search, method="grid", epochs=1)
    study.run(99, quiet)
    drawn = sorted((row.drawn["train.lr"], row.drawn["model.width"]) for row in study.rows())
    assert drawn == [(0.01, 2), (0.01, 4), (0.02, 2), (0.02, 4)]
    study.run(99, quiet)
    assert len(study.rows()) == 4


def test_more_trials_may_be_asked_for_later(open_study: Open) -> None:
    open_study(epochs=1).run(2, quiet)
    study = open_study(epochs=1)
    study.run(3, quiet)
    assert sorted(row.number for row in study.rows()) == [0, 1, 2]


def test_trials_that_fall_behind_are_pruned(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "PRUNE_STARTUP", 2)
    scores = iter([0.5, 0.6, 0.7] * 2 + [0.5, 0.1])
    monkeypatch.setattr(tune, "score_of", lambda *_: next(scores))
    study = open_study(prune="median", epochs=3)
    study.run(3, quiet)
    last = next(row for row in study.rows() if row.number == 2)
    assert (last.state, last.epochs, last.score) == ("pruned", 2, 0.5)
    assert [row.state for row in study.rows()] == ["done", "done", "pruned"]


def test_hyperband_prunes_too(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    best = iter(range(99, 0, -1))  # every trial is worse than the ones before
    level: dict[float, float] = {}
    monkeypatch.setattr(
        tune,
        "score_of",
        lambda result, config: level.setdefault(config.train.lr, next(best) / 100) + result.epoch / 1e4,
    )
    study = open_study(prune="hyperband", epochs=3)
    study.run(8, quiet)
    assert {row.state for row in study.rows()} == {"done", "pruned"}


def test_a_trial_that_cannot_be_trained_fails_alone(open_study: Open) -> None:
    study = open_study(search=("model.dropout=0.2,1.5",), method="grid", epochs=1)
    lines: list[str] = []
    study.run(2, lines.append)
    assert [row.state for row in study.rows()] == ["done", "failed"]
    assert "dropout is a probability, got 1.5" in lines[1]
    assert study.write()[1].name == "best.toml"


def test_any_exception_of_a_trial_fails_that_trial_alone(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Run.fit

    def broken(self: Run, *arguments: Any, **of: Any) -> None:
        if self.config.train.batch_size == 32:
            raise ZeroDivisionError("a defect of a plugin")
        fit(self, *arguments, **of)

    monkeypatch.setattr(Run, "fit", broken)
    study = open_study(search=("batch_size=32,16",), method="grid", epochs=1)
    lines: list[str] = []
    study.run(2, lines.append)
    assert [row.state for row in study.rows()] == ["done", "failed"]
    assert "ZeroDivisionError: a defect of a plugin" in lines[0]


def test_a_full_disk_stops_the_study_and_fails_no_trial(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(search=("batch_size=32,16",), method="grid", epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(UnwrittenError, match="No space left"):
            study.run(2, quiet)
    assert [row.state for row in study.rows()] == ["running"]
    study.run(2, quiet)
    assert [row.state for row in study.rows()] == ["done", "done"]


def test_a_broken_gpu_stops_the_study_and_fails_no_trial(open_study: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    study = open_study(search=("batch_size=32,16",), method="grid", epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "fit", broken)
        with pytest.raises(torch.AcceleratorError):
            study.run(2, quiet)
    assert [row.state for row in study.rows()] == ["running"]
    study.run(2, quiet)
    assert [row.state for row in study.rows()] == ["done", "done"]


def test_trials_with_equal_settings_of_the_data_share_their_faces(
    open_study: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def counted(data: Any, config: Any, *more: Any) -> Any:
        made.append((config.train.balance, config.train.lr))
        return training_set(data, config, *more)

    monkeypatch.setattr(run, "training_set", counted)
    open_study(search=("lr=0.01,0.02", "balance=none,oversample"), method="grid", epochs=1).run(4, quiet)
    assert made == [("none", 0.01), ("oversample", 0.01)]


def test_a_study_in_which_nothing_can_be_trained_says_why(open_study: Open) -> None:
    study = open_study(search=("model.dropout=1.5,2.5",), method="grid", epochs=1)
    with pytest.raises(SettingsError, match=r"all 2 trials failed.*got 2\.5"):
        study.run(2, quiet)


def test_table_best_run_file_and_plot(open_study: Open) -> None:
    study = open_study(train={"epochs": 7, "seed": 3}, augment={"zoom": [0.9, 1.1]})
    study.run(5, quiet)
    assert [path.name for path in study.write()] == ["trials.csv", "best.toml", "importance.png"]
    with (study.folder / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in table]
    assert scores == sorted(scores, reverse=True)
    best = read_run_file(study.folder / "best.toml")
    config = run_config(TINY, {k: v for k, v in best.items() if k != "recipe"})
    assert config.train.lr == float(table[0]["train.lr"])
    assert config.model["dropout"] == float(table[0]["model.dropout"])
    assert config.model["width"] == 4
    assert (config.train.epochs, config.train.seed, config.augment.zoom) == (7, 3, (0.9, 1.1))
    assert (study.folder / "importance.png").read_bytes().startswith(b"\x89PNG")
    shares = study.importances()
    assert set(shares) == {"train.lr", "model.dropout", "train.batch_size"}
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_only_the_best_trial_keeps_its_weights(open_study: Open) -> None:
    study = open_study(epochs=1)
    study.run(3, quiet)
    best = study.rows()[0].number
    kept = sorted(path.relative_to(study.folder).as_posix() for path in study.folder.glob("*/*.ckpt"))
    assert kept == [f"trial-{best:04d}/best.ckpt", f"trial-{best:04d}/last.ckpt"]
    assert len(list(study.folder.glob("*/log.csv"))) == 3


def test_importances_wait_for_enough_trials(open_study: Open) -> None:
    study = open_study(epochs=1)
    study.run(3, quiet)
    assert study.importances() == {}
    assert [path.name for path in study.write()] == ["trials.csv", "best.toml"]


def test_another_search_does_not_go_on_in_the_same_folder(open_study: Open) -> None:
    open_study()
    with pytest.raises(SettingsError, match=r"other settings \(space, epochs\); choose another --study"):
        open_study(search=("lr=0.1,0.2",), epochs=3)


def test_two_processes_do_not_share_a_study(open_study: Open) -> None:
    with alone(open_study().folder, "study"), pytest.raises(SettingsError, match="another process"):
        open_study().run(1, quiet)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("lr=-1:1", r"train\.lr"),
        ("data.colour=1,2", r"data\.colour"),
        ("epochs=1:5", "--epochs N"),
        ("optimizer=sgd,lion,adam", r"train\.optimizer"),
        ("momentum=0,0.9", "set nesterov = false too"),
    ],
)
def test_a_space_that_does_not_fit_the_recipe_is_refused_at_once(
    search: str, message: str, open_study: Open, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        open_study(search=(search,))
    assert not (tmp_path / "study").exists()


def test_a_value_that_only_some_of_the_others_suit_is_searched(open_study: Open) -> None:
    study = open_study(search=("momentum=0,0.9", "nesterov=true,false"), method="grid", epochs=1)
    lines: list[str] = []
    study.run(4, lines.append)
    assert [row.state for row in study.rows()].count("done") == 3
    assert "nesterov looks ahead" in lines[0]


def test_a_study_over_other_votes_does_not_go_on(cpu: Device, tmp_path: Path) -> None:
    spec = StudySpec(TINY, {}, parse_space(("lr=0.1,0.2",)), 1)
    for column in (0, 1):
        data = tiny_faces()
        votes = np.tile(np.eye(7, dtype=np.float32)[column], (64, 1))
        data.splits["Training"] = replace(data.split("Training"), votes=votes)
        with pytest.raises(SettingsError, match="votes_sha256") if column else nullcontext():
            Tuning(tmp_path / "study", spec, data, cpu)
    Tuning(tmp_path / "study", spec, tiny_faces(), cpu)  # what one side does not know counts as the same
