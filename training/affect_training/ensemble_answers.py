"""What candidates of an ensemble answer: to the views a search is to see, and to those the service has."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affect.inference.device import Device
from affect.plugins import PluginHost
from affect.types import ByteArray
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.tta import Tta, served_views, views
from affect_training.teachers import Answers, ask


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate's answers.

    Attributes:
        all_views: Calibrated probabilities [N, 7], the mean over all views.
        served: The mean over those views that the service has: the face, or it and its mirror image.
    """

    all_views: Floats
    served: Answers


def ask_views(
    name: str, images: ByteArray, device: Device, tta: Tta, *, cache: Path | None, host: PluginHost
) -> Candidate:
    """Ask a backend about every view of faces; each view is kept in the cache by itself.

    Args:
        name: A registered backend, or the path of a weights file.
        images: uint8 [N, 48, 48].
        device: Where it runs.
        tta: The views.
        cache, host: As for `affect_training.teachers.ask`.

    Raises:
        AffectError: As for `ask`.
    """
    first = served_views(tta)
    served = ask(name, images, device, mirror=first == 2, cache=cache, host=host)
    total, count = first * served.probabilities.astype(np.float64), first
    for k, view in enumerate(views(images, tta)):
        if k >= first:
            total += ask(name, view, device, mirror=False, cache=cache, host=host).probabilities
            count += 1
    return Candidate(total / count, served)
