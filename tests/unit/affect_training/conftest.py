"""What every test of a training shares: the synthetic faces of `support.tiny`, and runs over them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from affect_training import run
from affect_training.config import run_config
from affect_training.data import FaceData
from affect_training.run import Run
from support.tiny import TINY, tiny_faces

from affect.inference.device import Device
from affect.registry import RecipeSpec

SPEC = replace(TINY, architecture="support.tiny:Tiny")
"""The tiny recipe, for runs that no plugin is asked about."""


class Start(Protocol):
    """Makes a run in a folder of that name; keyword arguments change `[train]`."""

    def __call__(
        self,
        name: str = "run",
        *,
        spec: RecipeSpec = SPEC,
        faces: FaceData | None = None,
        aux: Path | None = None,
        tables: Mapping[str, Any] | None = None,
        **train: Any,
    ) -> Run: ...


@pytest.fixture
def faces() -> FaceData:
    """64 faces for training and 21 for PublicTest."""
    return tiny_faces()


@pytest.fixture
def start(cpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(run, "git_commit", lambda: "abc")

    def make(
        name: str = "run",
        *,
        spec: RecipeSpec = SPEC,
        faces: FaceData | None = None,
        aux: Path | None = None,
        tables: Mapping[str, Any] | None = None,
        **train: Any,
    ) -> Run:
        config = run_config(spec, tables or {}, {"train": train})
        return Run(tmp_path / name, spec, config, faces or tiny_faces(), cpu, aux=aux)

    return make


def start_again(start: Start) -> Run:
    """Make the run of that folder once more and let it go on."""
    one = start()
    assert one.resume()
    return one
