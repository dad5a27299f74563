from pathlib import Path

import cv2
import numpy as np
import pytest
from affect_training.config import RunConfig, run_config
from affect_training.data import FaceData, Split
from affect_training.data.training import training_key, training_set

from affect.errors import SettingsError
from affect.registry import RecipeSpec
from affect.types import ByteArray

RECIPE = RecipeSpec("r", "m:C", "", "", train={"epochs": 1, "batch_size": 1, "lr": 1})


def config(data: dict[str, object] | None = None, **train: object) -> RunConfig:
    return run_config(RECIPE, {"data": data or {}, "train": train})


def coarse(count: int) -> ByteArray:
    """Make pictures of 6x6 squares, told apart by any hash."""
    small = np.random.default_rng(0).integers(0, 256, (count, 6, 6), np.uint8)
    return np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture
def data() -> FaceData:
    """Training 0-3, PublicTest 4 and 5, of which 5 is Training 2."""
    images = coarse(8)
    training = Split(images[:4], np.array([0, 1, 2, 2], np.int64), np.arange(4, dtype=np.int64))
    public = Split(images[[4, 2]], np.array([0, 2], np.int64), np.array([4, 5], np.int64))
    return FaceData({"Training": training, "PublicTest": public}, {}, "hash")


@pytest.fixture
def aux(tmp_path: Path) -> Path:
    """A set `web` of two faces: PublicTest's first one, and one that occurs nowhere else."""
    images = coarse(8)
    for name, image in (("a", images[4]), ("b", images[7])):
        path = tmp_path / "web" / "sad" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return tmp_path


def test_training_alone_is_what_the_data_have(data: FaceData) -> None:
    found = training_set(data, config())
    assert found.split is data.split("Training")
    assert found.aux_sha256 == {}


def test_auxiliary_faces_follow_with_the_sha256_of_their_set(data: FaceData, aux: Path) -> None:
    found = training_set(data, config({"aux": ["web"], "aux_weight": 0.5}), aux)
    assert found.split.labels.tolist() == [0, 1, 2, 2, 4, 4]
    assert found.split.weights is not None
    assert found.split.weights.tolist() == [1, 1, 1, 1, 0.5, 0.5]
    assert list(found.aux_sha256) == ["web"]
    (aux / "web/sad/b.png").rename(aux / "web/sad/c.png")
    assert training_set(data, config({"aux": ["web"]}), aux).aux_sha256 != found.aux_sha256


def test_leaks_are_dropped_from_the_auxiliary_faces_too(data: FaceData, aux: Path) -> None:
    found = training_set(data, config({"aux": ["web"], "drop_leaks": True}), aux)
    np.testing.assert_array_equal(found.split.images, coarse(8)[[0, 1, 3, 7]])
    assert found.split.labels.tolist() == [0, 1, 2, 4]


def test_auxiliary_sets_are_parsed_once(data: FaceData, aux: Path, tmp_path: Path) -> None:
    wanted = config({"aux": ["web"]})
    first = training_set(data, wanted, aux, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("named-pictures-*.npz"))) == 1
    again = training_set(data, wanted, aux, tmp_path / "cache")
    np.testing.assert_array_equal(again.split.images, first.split.images)
    assert again.aux_sha256 == first.aux_sha256


def test_auxiliary_sets_want_a_folder(data: FaceData) -> None:
    with pytest.raises(SettingsError, match=r"data\.aux names web; say where they are: --aux FOLDER"):
        training_set(data, config({"aux": ["web"]}))


def test_it_is_balanced(data: FaceData) -> None:
    assert np.bincount(training_set(data, config(balance="oversample")).split.labels).tolist() == [2, 2, 2]


def test_the_key_is_equal_for_runs_over_equal_faces() -> None:
    assert training_key(config()) == training_key(config(lr=0.5, seed=3))
    assert training_key(config(balance="smote", seed=1)) != training_key(config(balance="smote", seed=2))
    assert training_key(config(balance="smote", seed=1)) == training_key(config(balance="smote", seed=1, lr=0.5))
    assert training_key(config()) != training_key(config({"drop_leaks": True}))
