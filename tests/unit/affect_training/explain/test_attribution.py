import numpy as np
import torch
from affect_training.explain.attribution import gradcam, occlusion
from affect_training.explain.network import Opened


def lit(upper_left: float, lower_right: float) -> torch.Tensor:
    """A dark face with two light corners."""
    crop = torch.full((1, 1, 48, 48), 0.05)
    crop[..., 3:17, 3:17] = upper_left
    crop[..., 31:45, 31:45] = lower_right
    return crop


def test_gradcam_points_where_the_network_looks(corner: Opened) -> None:
    found = gradcam(corner, lit(0.9, 0.9), 0)
    assert found.layer == "act"
    assert found.values.shape == (48, 48)
    assert found.values.max() == 1
    assert found.values[5:15, 5:15].min() > 0.5
    # The network cuts a margin of 3: what it cannot see speaks for nothing.
    assert found.values[:3].max() == found.values[:, 45:].max() == 0


def test_gradcam_takes_the_layer_it_is_told(residual: Opened) -> None:
    assert gradcam(residual, torch.rand(1, 1, 48, 48), 3, "block.one").layer == "block.one"
    assert gradcam(residual, torch.rand(1, 1, 48, 48), 3).layer == "block"


def test_gradcam_of_an_emotion_nothing_speaks_for_is_empty(corner: Opened) -> None:
    assert not gradcam(corner, lit(0.9, 0.9), 5).values.any()


def test_occlusion_says_what_hiding_a_place_costs(corner: Opened) -> None:
    crop = lit(0.9, 0.05)
    found = occlusion(corner, crop, 0)
    y, x = np.unravel_index(found.values.argmax(), found.values.shape)
    assert 3 <= y < 17
    assert 3 <= x < 17
    with torch.no_grad():
        whole = float(corner.probabilities(crop)[0, 0])
    assert 0 < found.values.max() < whole
    # A place the network never looks at costs nothing.
    assert abs(found.values[36:, :12]).max() < 1e-6
    # What hides evidence for another emotion is a gain: the rival is the other corner.
    assert occlusion(corner, lit(0.5, 0.9), 0).values[31:45, 31:45].min() < 0


def test_occlusion_is_the_same_every_time(residual: Opened) -> None:
    crop = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(occlusion(residual, crop, 2).values, occlusion(residual, crop, 2).values)
