import json
from pathlib import Path

import numpy as np
import pytest
import torch
from affect_training.explain import write as module
from affect_training.explain.dream import DreamSettings
from affect_training.explain.faces import FaceCrop
from affect_training.explain.network import Opened
from affect_training.explain.write import ExplainSettings, explain

from affect.errors import SettingsError


@pytest.fixture(autouse=True)
def _short_dreams(monkeypatch: pytest.MonkeyPatch) -> None:
    from affect_training.explain import dream

    short = DreamSettings(odds=1.0, steps=1, octaves=1)
    monkeypatch.setattr(dream, "FROM_NOISE", short)
    monkeypatch.setattr(dream, "FROM_FACE", short)


@pytest.fixture
def face() -> FaceCrop:
    crop = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    return FaceCrop("anna", Path("pictures/anna.png"), crop)


def test_everything_is_written_as_png_and_svg_on_one_page(residual: Opened, face: FaceCrop, tmp_path: Path) -> None:
    said: list[str] = []
    page = explain(residual, [face], tmp_path / "out", progress=said.append)
    names = ["filters", "anna.gradcam", "anna.occlusion", "anna.activations", "anna.deepdream"]
    assert said == [str(tmp_path / "out" / f"{name}.png") for name in names]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"{name}.{kind}" for name in names for kind in ("png", "svg")),
        "explain.html",
        "explain.json",
    }
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure") == 5
    assert text.count("data:image/svg+xml;base64,") == 10  # each for light and for dark paper
    (found,) = json.loads((tmp_path / "out" / "explain.json").read_text())["faces"]
    assert found["picture"] == "anna.png"
    assert found["gradcam_layer"] == "block"
    assert found["explained"] == max(found["probabilities"], key=found["probabilities"].get)


def test_the_emotion_asked_for_is_explained(residual: Opened, face: FaceCrop, tmp_path: Path) -> None:
    explain(residual, [face], tmp_path, ExplainSettings(("gradcam",), emotion=1))
    assert json.loads((tmp_path / "explain.json").read_text())["faces"][0]["explained"] == "disgust"


def test_without_a_face_there_are_filters_and_a_dream_from_noise(residual: Opened, tmp_path: Path) -> None:
    explain(residual, [], tmp_path, ExplainSettings(("filters", "deepdream")))
    assert {path.name for path in tmp_path.glob("*.png")} == {"filters.png", "deepdream.png"}


def test_what_needs_a_face_is_an_error_without(residual: Opened, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="gradcam need a face; name a picture, or --what filters,deepdream"):
        explain(residual, [], tmp_path / "out", ExplainSettings(("filters", "gradcam")))
    assert not (tmp_path / "out").exists()


def test_of_many_faces_the_page_shows_the_first_and_says_so(
    residual: Opened, face: FaceCrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ON_PAGE", 1)
    others = [face, FaceCrop("ben", Path("ben.png"), 1 - face.crop)]
    text = explain(residual, others, tmp_path, ExplainSettings(("gradcam",))).read_text(encoding="utf-8")
    assert (tmp_path / "ben.gradcam.png").exists()
    assert "1 more faces are in the files beside this page." in text
    assert text.count("<figure") == 1


def test_the_same_seed_writes_the_same_files(residual: Opened, face: FaceCrop, tmp_path: Path) -> None:
    for name in ("one", "two"):
        explain(residual, [face], tmp_path / name, ExplainSettings(("deepdream", "occlusion"), seed=3))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert np.all(face.crop.numpy() <= 1)
