"""Pictures in, face crops as a backend wants them out: the picture as it is, or its largest face."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch

from affect.errors import AffectError, FrameError, MediaError
from affect.inference.checkpoint import InputSpec
from affect.inference.device import Device
from affect.media import find_media, is_picture
from affect.pictures import whole_faces
from affect.plugins import PluginHost
from affect.settings.load import load_settings
from affect.types import ByteArray
from affect.vision.crop import crop_faces
from affect.vision.decode import decode
from affect.vision.detector import area
from affect.vision.geometry import crop_affine


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """A face: the name of its outputs, the picture it is from, its crop float32 [1, C, S, S], 0-1."""

    name: str
    path: Path
    crop: torch.Tensor

    def picture(self) -> ByteArray:
        """Return the crop as uint8 RGB [S, S, 3]."""
        return as_rgb(self.crop[0])


def read_crops(
    inputs: Iterable[Path], spec: InputSpec, device: Device, *, cropped: bool, out: Path | None = None
) -> tuple[list[FaceCrop], list[str]]:
    """Read pictures and cut the face of each.

    Args:
        inputs: Pictures, or folders of them.
        spec: What the backend wants.
        device: Where the detector runs and the crops are made.
        cropped: Each picture is a face already; otherwise affect's configured detector finds the largest.
        out: Folder of earlier outputs; where it lies in a folder of pictures, its own are none to explain.

    Returns:
        The faces, and a message for each picture that could not be read or shows none.

    Raises:
        MediaError: No such file, no picture among them, or no face in any.
    """
    named = [Path(path) for path in inputs]
    files = [file for file in find_media(named) if is_picture(file.path) and not _is_output(file.path, named, out)]
    if not files:
        raise MediaError("expected pictures (.jpg .png .webp) or folders of them")
    settings = load_settings().settings
    detector = None if cropped else PluginHost(settings.plugins).create_detector(settings.vision.detector, device)
    faces: list[FaceCrop] = []
    problems: list[str] = []
    for file, name in zip(files, _flat([file.name for file in files]), strict=True):
        path = file.path
        try:
            image = decode(path.read_bytes(), settings.vision).image
            if detector is None:
                crop = whole_faces([image], spec, device.torch)
            else:
                with torch.inference_mode():
                    (found,) = detector.detect([image])
                if not found:
                    raise FrameError("no face found; pass --cropped if the picture is one")
                largest = max(found, key=lambda face: area(face.box))
                affine = crop_affine(largest.box, largest.landmarks, spec.crop)
                crop = crop_faces([image], [affine], size=spec.size, channels=spec.channels, device=device.torch)
            faces.append(FaceCrop(name, path, crop))
        except (AffectError, OSError) as exc:
            problems.append(f"{path}: {exc}")
    if not faces:
        raise MediaError(f"no face to explain: {'; '.join(problems)}")
    return faces, problems


def _is_output(path: Path, named: Sequence[Path], out: Path | None) -> bool:
    """Whether a picture was found in a folder below which `out` lies, and in that; what was named is none."""
    if out is None or path in named:
        return False
    place = out.resolve()
    above = [folder.resolve() for folder in named if folder.is_dir() and place != folder.resolve()]
    return path.resolve().is_relative_to(place) and any(place.is_relative_to(folder) for folder in above)


def _flat(names: Sequence[str]) -> list[str]:
    """Return names of one folder for names of several; of two that would be the same the second gets a number."""
    flat: list[str] = []
    for name in names:
        plain = name.replace("/", "-")
        others = (f"{plain}-{k}" for k in count(2))
        flat.append(next(one for one in chain((plain,), others) if one not in flat))
    return flat


def as_rgb(crop: torch.Tensor) -> ByteArray:
    """Return a crop [C, S, S], 0-1, as uint8 RGB [S, S, 3]."""
    grey_or_rgb = crop.detach().cpu().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(np.broadcast_to(grey_or_rgb, (*grey_or_rgb.shape[:2], 3)))
