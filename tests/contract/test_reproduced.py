"""What docs/training.md says of the runs is what the runs left in training/results."""

import json
from pathlib import Path
from typing import Any

import pytest
from affect_training.config import RunConfig, read_run_file, run_config
from support.documents import table

from affect.plugins import PluginHost

ROOT = Path(__file__).parents[2]
RUNS, RESULTS = ROOT / "training" / "runs", ROOT / "training" / "results"
FIRST_TRAINER = {"nguyen2017", "nguyen2017-plain"}
"""Their records are of the first trainer, whose settings had other names."""

ROWS = {row[4]: row for row in table("training.md", "recipe", "published", "ours", "unseen", "run file", "minutes")}
KEPT = sorted(folder.name for folder in RESULTS.iterdir() if (folder / "single.json").exists())
RECORDS = sorted(path.parent.name for path in RESULTS.glob("*/run.json") if path.parent.name not in FIRST_TRAINER)


def figures(run: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / run / name).read_text(encoding="utf-8"))
    return found


def in_percent(share: float) -> str:
    return f"{100 * share:.1f}"


@pytest.mark.parametrize("run", KEPT)
def test_figures_are_those_that_the_runs_left(run: str) -> None:
    _, _, ours, unseen, _, _ = ROWS[f"`{run}.toml`"]
    single = figures(run, "single.json")
    low, high = single["accuracy_ci95"]
    said = f"{in_percent(single['accuracy'])} % ({in_percent(low)}-{in_percent(high)})"
    assert ours.replace("**", "").startswith(said)
    assert unseen == f"{in_percent(figures(run, 'unseen.json')['accuracy'])} %"


def test_every_run_file_has_a_row() -> None:
    assert set(ROWS) == {f"`{path.name}`" for path in RUNS.glob("*.toml")} - {"`smoke.toml`"}


@pytest.mark.parametrize("run", RECORDS)
def test_a_run_file_gives_the_settings_of_its_run(run: str) -> None:
    file = read_run_file(RUNS / f"{run}.toml")
    now = run_config(PluginHost().recipes.get(file["recipe"]), file)
    then = RunConfig.model_validate(figures(run, "run.json")["config"])
    same = now.model_copy(update={"init": then.init})
    assert same.model_dump(mode="json") == then.model_dump(mode="json")
    assert start(now.init) == start(then.init)


def start(init: str) -> str:
    """The scheme, or the name of the file: where it lies is the machine's."""
    return Path(init).name if init.endswith(".safetensors") else init.partition(":")[0]
