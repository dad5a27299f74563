import json
from pathlib import Path

import numpy as np
import pytest
from affect_resnet.tfjs import find, read_weights, take

from affect.errors import CheckpointError, SettingsError

MANIFEST = "model/face_recognition_model-weights_manifest.json"
WHERE = {"scheme": "face-api", "package": "@vladmandic/face-api@1.7.15"}


def manifest(folder: Path, entries: list[dict[str, object]], data: bytes, *, graph: bool = False) -> Path:
    path = folder / "w.json"
    groups = [{"paths": ["a.bin", "b.bin"], "weights": entries}]
    path.write_text(json.dumps({"weightsManifest": groups} if graph else groups))
    half = len(data) // 2
    (folder / "a.bin").write_bytes(data[:half])
    (folder / "b.bin").write_bytes(data[half:])
    return path


@pytest.mark.parametrize("graph", [True, False])
def test_all_storages_are_read_across_shards(tmp_path: Path, graph: bool) -> None:
    plain = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)
    entries: list[dict[str, object]] = [
        {
            "name": "eight",
            "shape": [3],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1},
        },
        {"name": "half", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "plain", "shape": [2, 2], "dtype": "float32"},
        {"name": "index", "shape": [2], "dtype": "int32"},
        {"name": "scalar", "shape": [], "dtype": "float32"},
    ]
    data = bytes([0, 2, 255]) + np.array([0.5, -6], "<f2").tobytes() + plain.tobytes()
    data += np.array([1, 2], "<i4").tobytes() + np.array(6, "<f4").tobytes()
    found = read_weights(manifest(tmp_path, entries, data, graph=graph))
    assert list(found) == ["eight", "half", "plain", "index", "scalar"]
    assert found["eight"].tolist() == [-1.0, 0.0, 126.5]
    assert found["half"].tolist() == [0.5, -6.0]
    assert np.array_equal(found["plain"], plain)
    assert found["index"].tolist() == [1.0, 2.0]
    assert found["scalar"].shape == ()
    assert all(array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize(("size", "says"), [(12, "ends at byte 16"), (20, "20 bytes, its tensors 16")])
def test_shards_of_another_size_are_refused(tmp_path: Path, size: int, says: str) -> None:
    path = manifest(tmp_path, [{"name": "w", "shape": [4], "dtype": "float32"}], bytes(size))
    with pytest.raises(CheckpointError, match=says):
        read_weights(path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, [{"name": "w", "shape": [4], "dtype": "float32"}], bytes(16))
    (tmp_path / "b.bin").unlink()
    with pytest.raises(CheckpointError, match=r"b\.bin is missing"):
        read_weights(path)


@pytest.mark.parametrize("text", ["not json", "{}", "[1]", '[{"paths": [], "weights": [{"name": "w"}]}]', "3"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match="not a manifest"):
        read_weights(path)


@pytest.mark.parametrize("inside", ["", "package", "node_modules/@vladmandic/face-api"])
def test_the_manifest_is_found_in_and_around_the_package(tmp_path: Path, inside: str) -> None:
    path = tmp_path / inside / MANIFEST
    path.parent.mkdir(parents=True)
    path.write_text("[]")
    assert find(str(tmp_path), MANIFEST, **WHERE) == path
    assert find(str(path.parent), MANIFEST, **WHERE) == path


@pytest.mark.parametrize("location", ["", "nowhere"])
def test_a_place_without_it_is_told_what_to_name(location: str) -> None:
    with pytest.raises(SettingsError, match=r"npm pack @vladmandic/face-api@1\.7\.15.*--init face-api:FOLDER"):
        find(location, MANIFEST, **WHERE)


def test_a_tensor_is_taken_by_name_and_shape() -> None:
    weights = {"w": np.zeros((2, 3), np.float32)}
    assert take(weights, "w", (2, 3)) is weights["w"]
    with pytest.raises(CheckpointError, match=r"w: expected shape \(3, 2\), the weights have \(2, 3\)"):
        take(weights, "w", (3, 2))
    with pytest.raises(CheckpointError, match="no 'v'"):
        take(weights, "v", (2, 3))
