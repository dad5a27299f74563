import numpy as np
import pytest
import torch
from affect_training.explain.attribution import Attribution
from affect_training.explain.figures import activation_sheet, attribution_plot, filter_sheet, montage, overlay
from affect_training.explain.network import Opened
from affect_training.report.style import LIGHT


def test_a_montage_is_transparent_between_its_tiles() -> None:
    tiles = [np.full((24, 24), k, np.uint8) for k in (10, 20, 30)]
    sheet = montage(tiles, 2)
    gap = sheet.shape[1] - 2 * 48
    assert sheet.shape == (96 + gap, 96 + gap, 4)
    assert sheet[0, 0].tolist() == [10, 10, 10, 255]
    assert sheet[0, -1].tolist() == [20, 20, 20, 255]
    assert sheet[-1, 0].tolist() == [30, 30, 30, 255]
    assert sheet[-1, -1, 3] == sheet[0, 48, 3] == 0


def test_an_overlay_is_blue_for_and_orange_against_and_nothing_at_zero() -> None:
    face = np.full((1, 3, 3), 100, np.uint8)
    found = overlay(face, np.array([[1, 0, -1]], np.float32), LIGHT)
    assert found[0, 0, 2] > found[0, 0, 0]
    assert found[0, 1].tolist() == [100, 100, 100]
    assert found[0, 2, 0] > found[0, 2, 2]


@pytest.mark.parametrize(("inputs", "kind"), [(1, "All 6 grey filters"), (3, "All 6 colour"), (4, "All 6 4-channel")])
def test_filters_of_any_number_of_inputs_are_drawn(inputs: int, kind: str) -> None:
    kernels = np.random.default_rng(0).normal(size=(6, inputs, 5, 5)).astype(np.float32)
    plot = filter_sheet("net", "stem", kernels)
    assert kind in plot.caption
    assert len(plot.render(LIGHT).axes) == 1


def test_of_many_filters_the_first_are_shown() -> None:
    assert "The first 64 of 100 grey" in filter_sheet("net", "stem", np.ones((100, 1, 3, 3), np.float32)).caption


def test_a_strip_a_layer(residual: Opened) -> None:
    plot = activation_sheet("a.png", residual.stages(torch.rand(1, 1, 48, 48)), "a")
    titles = [axes.get_title(loc="left") for axes in plot.render(LIGHT).axes]
    assert titles == [
        "stem → Conv2d: 4 maps of 12x12",
        "block.one → ReLU: 4 maps of 12x12",
        "block.two → Block: 4 maps of 12x12",
    ]


@pytest.mark.parametrize("kind", ["gradcam", "occlusion"])
def test_a_map_that_is_zero_everywhere_can_be_drawn(kind: str) -> None:
    face, empty = np.zeros((48, 48, 3), np.uint8), Attribution(np.zeros((48, 48), np.float32), "stem")
    plot = attribution_plot(kind, face, empty, np.full(7, 1 / 7, np.float32), 6, "a")
    assert plot.name == f"a.{kind}"
    assert "neutral" in plot.caption
    assert [axes.get_title(loc="left") for axes in plot.render(LIGHT).axes][1] == "for neutral (0.14)"


def test_fewer_layers_are_spread_and_said(residual: Opened) -> None:
    stages = residual.stages(torch.rand(1, 1, 48, 48))
    assert "all 3 convolutions" in activation_sheet("a.png", stages, "a").caption
    plot = activation_sheet("a.png", stages, "a", layers=2)
    assert "2 of 3 convolutions" in plot.caption
    assert [axes.get_title(loc="left").split(":")[0] for axes in plot.render(LIGHT).axes] == [
        "stem → Conv2d",
        "block.two → Block",
    ]
