"""Where a run's figures come from: normalisation of its data, package versions, the commit, the machine."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from affect_training.data import Split

PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "tutor-affect")


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
