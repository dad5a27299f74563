"""Which places of a face speak for an emotion: Grad-CAM and occlusion, both by captum.

Grad-CAM (Selvaraju et al. 2017) weighs the maps of the last convolution by their gradients: coarse, and quick.
Occlusion (Zeiler & Fergus 2014) hides a square after the other and sees what the probability loses: slow, and plain.
"""

from dataclasses import dataclass

import numpy as np
import torch

from affect.types import FloatArray
from affect_training.explain.network import Opened

WINDOW, STRIDE = 9 / 48, 3 / 48
"""Of occlusion, in sides of the input: about an eye, moved by a third."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """A map over a face for one emotion.

    Attributes:
        values: float32 [S, S]. Grad-CAM: 0-1, the largest 1 (all 0 where nothing speaks for it). Occlusion: what the
            calibrated probability loses when the surroundings of a pixel are hidden; negative where it gains.
        layer: The layer of Grad-CAM; empty for occlusion.
    """

    values: FloatArray
    layer: str = ""


def gradcam(network: Opened, crop: torch.Tensor, emotion: int, layer: str | None = None) -> Attribution:
    """Compute Grad-CAM.

    Args:
        network: The opened backend.
        crop: [1, C, S, S], 0-1.
        emotion: Number of the emotion that is explained.
        layer: Name of the layer; what became of the last convolution (after norm, activation and sum) by default.

    Raises:
        BackendError: There is no such layer, or what it puts out has no places, or it is called more than once.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    layer = network.with_places(layer)
    face = crop.clone().requires_grad_()
    cam = LayerGradCam(network.logits, network.layer(layer)).attribute(face, target=emotion, relu_attributions=True)
    # A network that cuts its margin away has its map over the rest only.
    x0, y0, x1, y1 = network.seen()
    whole = torch.zeros(crop.shape[2:], device=crop.device)
    whole[y0:y1, x0:x1] = LayerAttribution.interpolate(cam.detach(), (y1 - y0, x1 - x0), "bilinear")[0, 0]
    values = whole.clamp(min=0).cpu().numpy().astype(np.float32)
    top = float(values.max())
    return Attribution(values / top if top > 0 else values, layer)


def occlusion(network: Opened, crop: torch.Tensor, emotion: int) -> Attribution:
    """Compute occlusion; hidden squares take the face's own mean grey (or colour).

    Args:
        network: The opened backend.
        crop: [1, C, S, S], 0-1.
        emotion: Number of the emotion that is explained.
    """
    from captum.attr import Occlusion

    size, channels = network.spec.size, network.spec.channels
    window, stride = max(2, round(WINDOW * size)), max(1, round(STRIDE * size))
    mean = crop.mean(dim=(2, 3), keepdim=True).expand_as(crop)
    with torch.no_grad():
        lost = Occlusion(network.probabilities).attribute(
            crop,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, stride, stride),
            baselines=mean,
            target=emotion,
            perturbations_per_eval=64,
        )
    return Attribution(lost[0].mean(dim=0).cpu().numpy().astype(np.float32))
