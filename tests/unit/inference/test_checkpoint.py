import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from affect.errors import CheckpointError, ErrorCode
from affect.inference.checkpoint import (
    InputSpec,
    Metric,
    Sidecar,
    load_checkpoint,
    load_sidecar,
    save_checkpoint,
    sidecar_path,
)
from affect.labels import STATES
from affect.settings.fit import HeadsFile, LearnerFit
from affect.types import CropGeometry
from affect.vision.geometry import FER2013_CROP

INPUT = InputSpec(size=48, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP)
TENSORS = {
    "weight": torch.tensor([[1.0, -2.5], [0.1, 65504.0]]),
    "count": torch.tensor(7, dtype=torch.int64),
}


def save(weights: Path, **changes: Any) -> Sidecar:
    fields: dict[str, Any] = {
        "architecture": "module:Class",
        "parameters": 4,
        "input": INPUT,
        "temperature": 1.25,
        "metrics": {"accuracy": Metric(value=0.65, ci95=(0.63, 0.67), split="PublicTest", n=3588)},
        "training": {"seed": 0},
    }
    return save_checkpoint(weights, TENSORS, **(fields | changes))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.safetensors"
    save(path)
    return path


def edit(weights: Path, **changes: Any) -> None:
    path = sidecar_path(weights)
    table = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in table.items() if v is not None}), encoding="utf-8")


def error(weights: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(weights)
    assert caught.value.code is ErrorCode.BAD_CHECKPOINT
    return caught.value.message


# Round trip


def test_weights_come_back_as_float32_rounded_to_half_precision(weights: Path) -> None:
    tensors, _ = load_checkpoint(weights)
    assert tensors["weight"].dtype == torch.float32
    # 0.1 in half precision is 0x2E66 = 1638 * 2^-14.
    assert tensors["weight"].tolist() == [[1.0, -2.5], [1638 / 2**14, 65504.0]]
    assert tensors["count"].dtype == torch.int64
    assert int(tensors["count"]) == 7


def test_full_precision_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, dtype=torch.float32)
    assert torch.equal(load_checkpoint(path)[0]["weight"], TENSORS["weight"])


def test_the_sidecar_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "cnn.safetensors"
    written = save(path)
    assert sidecar_path(path) == tmp_path / "new" / "folder" / "cnn.json"
    _, read = load_checkpoint(path)
    assert read == written == load_sidecar(path)
    assert read.input == INPUT
    assert read.metrics["accuracy"].ci95 == (0.63, 0.67)
    assert read.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(p.name for p in path.parent.iterdir()) == ["cnn.json", "cnn.safetensors"]


def test_stored_tensors_may_be_views_that_need_gradients(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensor = torch.arange(6.0).view(2, 3).t().requires_grad_()
    save_checkpoint(path, {"w": tensor}, architecture="m:C", parameters=6, input=INPUT, temperature=1)
    assert load_checkpoint(path)[0]["w"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_sidecar_is_readable_json(weights: Path) -> None:
    table = json.loads(sidecar_path(weights).read_text("utf-8"))
    assert table["labels"] == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert table["input"]["crop"]["landmarks"][2] == [0.5, 0.6075]


# What was fitted for weights that are written again


@pytest.fixture
def fitted(weights: Path) -> LearnerFit:
    """The sidecar has a fit, and its heads lie beside it."""
    heads = weights.with_name("cnn.learner.safetensors")
    heads.write_bytes(b"heads")
    fit = LearnerFit(
        backend="cnn",
        weights_sha256=load_sidecar(weights).weights_sha256,
        emission=dict.fromkeys(STATES, (1 / 7,) * 7),
        emission_prior=1.0,
        heads=HeadsFile(file=heads.name, sha256="0", states=(STATES[0],), embedding=0, readings=()),
        data="",
        data_sha256="0",
        faces=1,
        people=1,
    )
    sidecar = load_sidecar(weights).model_copy(update={"learner": fit})
    sidecar_path(weights).write_text(sidecar.model_dump_json(), encoding="utf-8")
    return fit


def test_a_learner_fit_outlives_a_second_export_of_the_same_weights(weights: Path, fitted: LearnerFit) -> None:
    save(weights, licence="other words")
    assert load_sidecar(weights).learner == fitted
    assert load_sidecar(weights).licence == "other words"
    assert weights.with_name("cnn.learner.safetensors").exists()


def test_a_learner_fit_goes_with_its_heads_when_the_weights_are_others(weights: Path, fitted: LearnerFit) -> None:
    other = {**TENSORS, "weight": torch.zeros(2, 2)}
    save_checkpoint(weights, other, architecture="m:C", parameters=4, input=INPUT, temperature=1)
    assert load_sidecar(weights).learner is None
    assert sorted(p.name for p in weights.parent.iterdir()) == ["cnn.json", "cnn.safetensors"]


@pytest.mark.parametrize("other", [{"temperature": 1.5}, {"power": 1.2}])
def test_a_learner_fit_goes_when_the_weights_are_calibrated_otherwise(
    weights: Path, fitted: LearnerFit, other: dict[str, float]
) -> None:
    save(weights, **other)
    assert load_sidecar(weights).learner is None


def test_a_damaged_sidecar_does_not_keep_weights_from_being_written(weights: Path) -> None:
    sidecar_path(weights).write_text("{", encoding="utf-8")
    assert save(weights) == load_sidecar(weights)


# What does not load


def test_a_pickle_in_place_of_safetensors_is_refused(weights: Path) -> None:
    torch.save({"weight": TENSORS["weight"]}, weights)
    assert "pickles are never loaded" in error(weights)


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\xff" * 100])
def test_other_files_are_refused(weights: Path, content: bytes) -> None:
    weights.write_bytes(content)
    assert f"{weights}: not a safetensors file" in error(weights)


def test_truncated_weights_are_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-1])
    assert str(weights) in error(weights)


def test_weights_of_another_sidecar_are_refused(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, {"weight": torch.zeros(2, 2)}, architecture="m:C", parameters=4, input=INPUT, temperature=1)
    weights.write_bytes(other.read_bytes())
    assert error(weights) == f"{weights}: weights do not match their sidecar cnn.json (sha256)"


def test_a_flipped_bit_is_noticed(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert "do not match their sidecar" in error(weights)


def test_weights_without_sidecar_are_refused(weights: Path) -> None:
    sidecar_path(weights).unlink()
    message = error(weights)
    assert "cnn.safetensors: no sidecar" in message
    assert str(sidecar_path(weights)) in message


def test_a_sidecar_without_weights_is_refused(weights: Path) -> None:
    weights.unlink()
    assert error(weights) == f"{weights}: no such weights file"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_sidecar_that_is_no_object_is_refused(weights: Path, content: bytes) -> None:
    sidecar_path(weights).write_bytes(content)
    assert error(weights).startswith(f"{sidecar_path(weights)}: file: ")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"labels": ["happy"] * 7}, "labels must be"),
        ({"labels": ["angry", "disgust", "fear", "happy", "sad", "neutral", "surprise"]}, "labels must be"),
        ({"labels": ["angry", "disgust"]}, "labels must be"),
        ({"temperature": 0}, "temperature: "),
        ({"temperature": None}, "temperature: Field required"),
        ({"weights_sha256": None}, "weights_sha256: "),
        ({"pickled": True}, "pickled: Extra inputs"),
        ({"format": 2}, "format: "),
        ({"input": {"size": 48}}, "input.channels: "),
    ],
)
def test_a_wrong_field_is_named(weights: Path, changes: dict[str, Any], part: str) -> None:
    edit(weights, **changes)
    message = error(weights)
    assert message.startswith(f"{sidecar_path(weights)}: ")
    assert part in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "channels is 1 or 3, not 2"),
        ({"channels": 3}, "mean and std need 3 numbers each, got 1 and 1"),
        ({"std": (0.0,)}, "std positive"),
        ({"std": (0.2, 0.2)}, "got 1 and 2"),
        ({"size": 4}, "greater than or equal to 8"),
        ({"crop": None}, "crop"),
        ({"mean": (float("nan"),)}, "mean and std must be finite"),
        ({"std": (float("inf"),)}, "mean and std must be finite"),
        ({"crop": {"landmarks": ((0.3, 0.4),) * 5, "source": ""}}, "5 different points"),
        ({"crop": {"landmarks": ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6)), "source": ""}}, "5 different points"),
    ],
)
def test_an_input_that_makes_no_tensor_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InputSpec.model_validate(INPUT.model_dump() | changes)


def test_an_rgb_input() -> None:
    crop = CropGeometry(((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)), "by hand")
    spec = InputSpec(size=112, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), crop=crop)
    assert InputSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_full_disk_leaves_what_was_there(weights: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    save(weights, beside={"cnn.publictest.safetensors": b"answers"})
    before = {path.name: path.read_bytes() for path in weights.parent.iterdir()}
    write, written = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > failing:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"No space left on device; what was there before is intact"):
        save(weights, temperature=2.0, beside={"cnn.publictest.safetensors": b"others"})
    assert {path.name: path.read_bytes() for path in weights.parent.iterdir()} == before
    assert load_sidecar(weights).temperature == 1.25
