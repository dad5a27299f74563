"""What a face costs: the forward pass of a backend, by batch size."""

import time
from statistics import median

import torch

from affect.inference.backend import Backend
from affect.inference.device import Device

ROUNDS, CALLS = 7, 5


def ms_a_face(backend: Backend, device: Device, batch: int) -> float:
    """Return milliseconds a face of `predict`, the median of several rounds, on noise.

    Args:
        backend: Called as the service calls it, from crops on the device to logits.
        device: Waited for where work is queued (CUDA).
        batch: Faces a call.
    """
    spec = backend.input
    faces = torch.rand(batch, spec.channels, spec.size, spec.size, device=device.torch)
    backend.predict(faces)
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            backend.predict(faces)
        if device.is_cuda:
            torch.cuda.synchronize(device.torch)
        took.append((time.perf_counter() - start) / CALLS)
    return 1e3 * median(took) / batch
