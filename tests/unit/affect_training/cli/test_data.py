import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.cli.data import data
from click.testing import CliRunner, Result

from affect.errors import MediaError, SettingsError

NAMES = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two happy faces and a blank one of Training; PublicTest repeats the first as sad."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AFFECT_FER2013", raising=False)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (6, 6), np.uint8).repeat(8, axis=0).repeat(8, axis=1) for _ in range(2)]
    one, two = (" ".join(map(str, image.ravel())) for image in images)
    blank = " ".join(["5"] * 2304)
    rows = [f"3,{one},Training", f"3,{two},Training", f"0,{blank},Training", f"4,{one},PublicTest"]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    votes = ["Training,a,0,10,0,0,0,0,0,0,0,0", "Training,b,0,0,0,0,0,0,0,10,0,0"]
    votes += ["Training,c,0,0,0,0,0,0,0,0,0,10", "PublicTest,d,0,10,0,0,0,0,0,0,0,0"]
    (tmp_path / "fer2013new.csv").write_text("\n".join([NAMES, *votes]))
    return tmp_path / "fer2013.csv"


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(data, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_info_counts_faces_classes_blanks_and_votes(faces: Path, tmp_path: Path) -> None:
    output = call("info", "--data", faces, "--votes", "--json", tmp_path / "there/info.json").output
    assert "2 (100.0%)" in output
    facts = json.loads((tmp_path / "there/info.json").read_text())
    assert facts["data"] == "fer2013.csv"
    assert f"sha256 {facts['sha256']}" in output
    training = facts["splits"]["Training"]
    assert training["faces"] == 2
    assert training["blank"] == 1
    assert training["classes"]["happy"] == 2
    assert training["votes"] == {"none": 1, "agree": 1.0}
    assert facts["splits"]["PublicTest"]["votes"] == {"none": 0, "agree": 0.0}
    assert (tmp_path / "runs/cache").is_dir()


def test_leaks_are_reported(faces: Path, tmp_path: Path) -> None:
    output = call("leaks", "--data", faces, "--json", tmp_path / "there/leaks.json").output
    assert "Training / PublicTest: 1 faces of Training show 1 of PublicTest" in output
    assert "PublicTest 3 sad, Training 0 happy" in output
    assert json.loads((tmp_path / "there/leaks.json").read_text())["photographs"] == 1


def test_a_sheet_is_drawn_where_the_user_says(faces: Path, tmp_path: Path) -> None:
    output = call("sheet", "--data", faces, "-o", tmp_path / "there/sheet.png", "--per-class", 3).output
    assert "do not publish" in output
    image = cv2.imread(str(tmp_path / "there/sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (7 * 50 + 2, 120 + 3 * 50 + 2)


def test_wrong_calls_are_told(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name the data"):
        call("info")
    with pytest.raises(MediaError, match="no split 'PrivateTest'"):
        call("sheet", "--data", faces, "-o", tmp_path / "a.png", "--split", "PrivateTest")
    assert CliRunner().invoke(data, ["sheet", "--data", str(faces)]).exit_code == 2
