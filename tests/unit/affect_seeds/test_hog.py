"""The descriptor against scikit-image's, and what a serving network needs of it."""

import cv2
import numpy as np
import pytest
import torch
from affect_seeds.hog import HistogramOfGradients
from skimage.feature import hog

from affect.types import ByteArray

# Bins are hard, and a gradient that rounding puts on the other side of a border would change a value by some .03. With
# nine bins no border but 0 degrees, which both find exactly, is the direction of a gradient of whole grey levels (eight
# bins would have 45 degrees); what is left is float32 against float64.
TOLERANCE = 2e-6


def images(astronaut: ByteArray) -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """A face and its surroundings, noise, a ramp, a flat grey; 48x48, 0-1, on the 256 levels of a real crop."""
    grey = astronaut.mean(axis=2) / 255
    row = np.arange(48) / 47
    found = [
        cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA),
        cv2.resize(grey[:170, :170], (48, 48), interpolation=cv2.INTER_AREA),
        np.random.default_rng(0).random((48, 48)),
        np.add.outer(row, row) / 2,
        np.full((48, 48), 0.5),
    ]
    return [(np.round(image * 255) / 255).astype(np.float32) for image in found]


@pytest.mark.parametrize(("orientations", "cell", "block"), [(9, 8, 2), (9, 8, 3), (9, 6, 2)])
def test_equals_scikit_image(astronaut: ByteArray, orientations: int, cell: int, block: int) -> None:
    batch = images(astronaut)
    describe = HistogramOfGradients(48, orientations=orientations, cell=cell, block=block)
    ours = describe(torch.from_numpy(np.stack(batch)[:, None])).numpy()
    for mine, image in zip(ours, batch, strict=True):
        theirs = hog(
            image.astype(np.float64), orientations, (cell, cell), (block, block), block_norm="L2-Hys",
            feature_vector=True,
        )  # fmt: skip
        assert mine.shape == theirs.shape == (describe.length,)
        np.testing.assert_allclose(mine, theirs, atol=TOLERANCE)


def test_centring_and_scaling_change_nothing(astronaut: ByteArray) -> None:
    """Training gives it faces less their mean over their deviation; blocks are normalised anyway."""
    faces = torch.from_numpy(np.stack(images(astronaut)[:3])[:, None])
    describe = HistogramOfGradients()
    assert torch.allclose(describe((faces - 0.5) / 0.25), describe(faces), atol=1e-3)


def test_lengths() -> None:
    assert HistogramOfGradients(48).length == 5 * 5 * 4 * 9  # Dalal & Triggs' cells and blocks on 48 pixels
    assert HistogramOfGradients(48)(torch.rand(2, 1, 48, 48)).shape == (2, 900)


def test_same_under_autocast() -> None:
    faces = torch.rand(2, 1, 48, 48, requires_grad=True)
    describe = HistogramOfGradients()
    with torch.autocast("cpu", torch.bfloat16):
        half = describe(faces)
    assert half.dtype == torch.float32
    assert torch.equal(half, describe(faces))
    assert not list(describe.parameters())
    assert not describe.state_dict()


def test_a_batch_of_any_size_from_one_exported_graph() -> None:
    """Nothing in it depends on values or on the number of faces, so it goes to ONNX."""
    describe = HistogramOfGradients().eval()
    faces = torch.rand(4, 1, 48, 48)
    graph = torch.export.export(describe, (faces[:2],), dynamic_shapes=({0: torch.export.Dim("faces")},))
    assert torch.equal(graph.module()(faces), describe(faces))


def test_a_network_of_hog_alone_has_a_gradient_to_the_face() -> None:
    faces = torch.rand(1, 1, 48, 48, dtype=torch.float64).float().requires_grad_()
    HistogramOfGradients()(faces).square()[:, ::3].sum().backward()
    assert faces.grad is not None
    assert torch.isfinite(faces.grad).all()
    assert float(faces.grad.abs().max()) > 0
    flat = torch.full((1, 1, 48, 48), 0.5, requires_grad=True)
    HistogramOfGradients()(flat).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
