"""What tests read of a run: its log, its weights, its facts; a record and auxiliary faces written for one."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import torch
from affect_training.data import Split
from affect_training.run import Run
from affect_training.run_record import RunRecord

from affect.labels import EMOTIONS

TESTS = Path(__file__).parents[1]
RESULTS = TESTS.parent / "training" / "results"
Weights = dict[str, torch.Tensor]


def quiet(_: str) -> None:
    """Report to nobody."""


def log(of: Run) -> list[dict[str, str]]:
    """Return the rows of its `log.csv`, but for the seconds."""
    with (of.folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(of: Run, file: str | None = None) -> Weights:
    """Return a copy of its present weights, or those in that checkpoint."""
    if file is None:
        return {name: tensor.clone() for name, tensor in of.model.state_dict().items()}
    saved: Weights = torch.load(of.folder / file, weights_only=True)["network"]
    return saved


def differing(one: Weights, other: Weights) -> list[str]:
    """Return the names of the tensors that are not equal."""
    assert one.keys() == other.keys()
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def facts(of: Run) -> dict[str, Any]:
    """Return its `run.json`."""
    found: dict[str, Any] = json.loads((of.folder / "run.json").read_text("utf-8"))
    return found


def record(**changes: Any) -> RunRecord:
    """Return what a run of 64 faces notes, with these changes."""
    return RunRecord.model_validate(
        {
            "architecture": "support.tiny:Tiny",
            "config": {"recipe": "tiny", "train": {}},
            "data_sha256": "0" * 64,
            "faces": {"Training": 64, "PublicTest": 21},
            "faces_trained_on": 64,
            "blank_dropped": {"Training": 0, "PublicTest": 0},
            "packages": {"python": "3.11.7"},
            "git_commit": "abc",
            "device": "cpu",
            **changes,
        }
    )


def write_aux(folder: Path, split: Split) -> None:
    """Write these faces as class folders."""
    for k, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        (folder / EMOTIONS[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / EMOTIONS[label] / f"{k}.png"), image)
