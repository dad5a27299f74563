"""Toy learners: face crops whose grey says how bored somebody is, a backend that sees it, and both as a plugin."""

import csv
import io
import tarfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from affect.hookspecs import hookimpl
from affect.inference.checkpoint import save_checkpoint
from affect.registry import BackendSpec, DetectorSpec
from affect.settings import Settings
from affect.testing import FakeBackend, FakeDetector
from affect.types import ByteArray

PEOPLE, FACES = 12, 16
ROW = ("file", "split", "subject", "clip", "boredom", "engagement", "confusion", "frustration")


class ToyBackend(FakeBackend):
    """Embeds a face as its mean grey, 0-1, and a constant."""

    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer both."""
        grey = faces.mean(dim=(1, 2, 3))
        return self.predict(faces), torch.stack([grey, torch.ones_like(grey)], dim=1)


def crop(grey: float, *, size: tuple[int, int] = (60, 80)) -> ByteArray:
    """A crop [80, 60, 3] of some mean grey, with enough contrast to be read."""
    image = np.full((size[1], size[0], 3), np.clip(grey * 255, 30, 225), np.uint8)
    image[::4] += 24
    image[2::4] -= 24
    return image


def jpeg(image: ByteArray) -> bytes:
    """Encode RGB."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def levels(rng: np.random.Generator) -> tuple[float, dict[str, int]]:
    """A grey and what a crowd says of it: bored people are bright, confusion and frustration are chance."""
    bored = int(rng.integers(0, 4))
    grey = 0.2 + 0.15 * bored + rng.normal(0, 0.03)
    return grey, {
        "boredom": bored,
        "engagement": int(rng.choice([2, 3])) if bored < 2 else 2,
        "confusion": int(rng.choice([0, 0, 1, 2])),
        "frustration": int(rng.choice([0, 0, 0, 3])),
    }


def write_faces(
    folder: Path, *, archive: bool = True, seed: int = 0, contrary: bool = False, people: int = PEOPLE
) -> Path:
    """Write labels.csv and faces of the splits train and val, as DAiSEE's crops come.

    Where they are contrary, the bored ones of val are dark.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(ROW)
        for split, count in (("train", people), ("val", 4)):
            for person in range(count):
                for number in range(FACES):
                    grey, said = levels(rng)
                    if contrary and split == "val":
                        said["boredom"] = 3 - said["boredom"]
                    name = f"{split}/{person:02}{number:03}.png"
                    files[name] = jpeg(crop(grey))
                    table.writerow([name, split, f"{split}{person:02}", f"{person:02}{number:03}.avi", *said.values()])
    if archive:
        with tarfile.open(folder / "faces.tar", "w") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    else:
        for name, data in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def toy_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels.csv and faces.tar."""
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Install detector `middle` and backends `toy` (with weights) and `bare` (without); returns the weights."""
    weights = tmp_path / "weights" / "toy.safetensors"
    save_checkpoint(
        weights, {"x": torch.zeros(1)}, architecture="a:B", parameters=1, input=ToyBackend.input, temperature=1.0
    )
    module = ModuleType("affect_toy")

    @hookimpl
    def register_backends(register: Callable[[BackendSpec], None]) -> None:
        register(BackendSpec("toy", lambda _: ToyBackend(), "grey", weights=weights))
        register(BackendSpec("bare", lambda _: FakeBackend(), "grey, no embedding, no weights"))

    @hookimpl
    def register_detectors(register: Callable[[DetectorSpec], None]) -> None:
        register(DetectorSpec("middle", lambda _: FakeDetector(), "the middle half"))

    module.register_backends = register_backends  # type: ignore[attr-defined]
    module.register_detectors = register_detectors  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "affect_toy", module)
    installed = metadata.entry_points
    point = metadata.EntryPoint("toy", "affect_toy", "affect")

    def entry_points(**of: Any) -> Any:
        return [*installed(**of), point] if of == {"group": "affect"} else installed(**of)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.chdir(tmp_path)
    return weights


@pytest.fixture
def toy_settings() -> Settings:
    """Settings that use the toy plugin on the CPU."""
    return Settings.model_validate(
        {"inference": {"backend": "toy", "device": "cpu", "precision": "float32"}, "vision": {"detector": "middle"}}
    )
