"""Answers that are right about most faces, and a run of the tiny recipe with its log."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affect_training.config import run_config
from affect_training.data import Split
from affect_training.evaluation.metrics import Floats
from affect_training.run import Run
from support.tiny import TINY, install_tiny, tiny_faces, tiny_split

from affect.inference.device import Device


@pytest.fixture
def split() -> Split:
    return tiny_split(70, 3)


@pytest.fixture
def answers(split: Split) -> Floats:
    """Probabilities [70, 7], too sure; every fifth face is taken for the next emotion."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(7, 0.3), len(split)) * 0.5
    taken_for = np.where(np.arange(len(split)) % 5 == 0, (split.labels + 1) % 7, split.labels)
    table[np.arange(len(split)), taken_for] += 0.5
    return np.asarray(table)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run of three epochs; open it with the recipe installed."""
    folder = tmp_path_factory.mktemp("trained") / "tiny-seed5"
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_tiny(monkeypatch)
        Run(folder, TINY, run_config(TINY), tiny_faces(), Device("cpu", "float32")).fit(lambda _: None)
        yield folder
