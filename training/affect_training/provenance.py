"""Where a run's figures come from: normalisation, the sha256 of what it was given, versions, the commit."""

import hashlib
import platform
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from affect_training.data import Split

PACKAGES = (
    *("torch", "torchvision", "timm", "lightning", "numpy"),
    *("imbalanced-learn", "scikit-learn", "opencv-python-headless"),
    "tutor-affect",
)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Centre and deviation of the network's input, on the 0-1 scale of pixels."""

    mean: float
    std: float

    @classmethod
    def of(cls, split: Split, kind: Literal["measured", "unit", "half"] = "measured") -> "Normalisation":
        """Return the normalisation of a kind; `measured` takes one mean and deviation of the split, as Keras does."""
        if kind == "unit":
            return cls(0.0, 1.0)
        if kind == "half":
            return cls(0.5, 0.5)
        pixels = split.images.astype(np.float32) / 255
        return cls(float(pixels.mean()), float(pixels.std()))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 [N, 48, 48] into float32 [N, 1, 48, 48]."""
        return self.scale(images.float().unsqueeze(1) / 255)

    def scale(self, faces: torch.Tensor) -> torch.Tensor:
        """Turn pixels of 0-1 into the network's input, same shape."""
        return (faces - self.mean) / self.std


def array_sha256(array: NDArray[Any]) -> str:
    """Return the sha256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def init_sha256(init: str, schemes: Collection[str]) -> str | None:
    """Return the sha256 of what initial weights are read from.

    Args:
        init: `none`, a file, or `SCHEME[:PLACE]`.
        schemes: Of the recipe.

    Returns:
        Of the file, or of the names and contents of all files of the folder; None where neither is there.
    """
    scheme, _, place = init.partition(":")
    path = Path(place if scheme in schemes else init)
    total = hashlib.sha256()
    try:
        if path.is_file():
            total.update(path.read_bytes())
        elif path.name and path.is_dir():
            for file in sorted(found for found in path.rglob("*") if found.is_file()):
                total.update(repr((file.relative_to(path).as_posix(), file.stat().st_size)).encode())
                total.update(file.read_bytes())
        else:
            return None
    except OSError:  # whoever reads it next says what is wrong
        return None
    return total.hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a run's figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout this runs from, with `+` when it has changes.

    None outside git, and when this file is not in the repository around it: installed in the folder of another project.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=here.parent, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
