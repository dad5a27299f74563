"""Logits of a network over a split: the same few lines for selection, export and reports."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from affect.inference.device import Device
from affect_training.data import SIDE, Split
from affect_training.provenance import Normalisation

BATCH_PIXELS = 512 * SIDE**2
"""Pixels of a batch, after the network has enlarged its faces: at 197 pixels 30 faces are what 512 are at 48."""


@torch.inference_mode()
def predict_logits(model: nn.Module, split: Split, normalise: Normalisation, device: Device) -> NDArray[np.float64]:
    """Return logits [N, 7] of a split, single view; leaves the network in eval mode.

    A network that enlarges its faces says to what `side`, and gets fewer at a time.
    """
    model.eval()
    batch_size = max(1, BATCH_PIXELS // int(getattr(model, "side", SIDE)) ** 2)
    parts = []
    for start in range(0, len(split), batch_size):
        images = torch.from_numpy(split.images[start : start + batch_size]).to(device.torch)
        with device.autocast():
            parts.append(model(device.layout(normalise(images))).float().cpu().numpy())
    return np.concatenate(parts).astype(np.float64)
