import pytest
import torch
from affect_training.explain.network import Opened
from torch import nn

from affect.errors import BackendError
from affect.inference.device import Device
from affect.pictures import FaceClassifier
from affect.testing import FakeBackend


def test_a_backend_without_a_network_is_refused_by_name() -> None:
    with pytest.raises(BackendError, match=r"'grey' \(FakeBackend\) has no torch network with 2-d convolutions"):
        Opened(FaceClassifier(FakeBackend(), Device("cpu", "float32")), "grey")


def test_a_network_without_convolutions_is_refused(open_network: object) -> None:
    assert callable(open_network)
    with pytest.raises(BackendError, match="'flat'"):
        open_network(nn.Sequential(nn.Flatten(), nn.Linear(2304, 7)), name="flat")


def test_probabilities_are_calibrated(corner: Opened) -> None:
    crop = torch.ones(1, 1, 48, 48)
    expected = (corner.logits(crop) / 2).softmax(dim=1)
    assert torch.allclose(corner.probabilities(crop), expected)


def test_stages_end_after_norm_activation_and_sum(residual: Opened) -> None:
    stages = [(convolution.name, became.name) for convolution, became in residual.stages(residual.blank())]
    # Squeeze-and-excitation works on one cell and is no stage of its own.
    assert stages == [("stem", "stem"), ("block.one", "block.act"), ("block.two", "block")]


def test_a_layer_that_is_called_twice_is_no_place_for_a_hook(residual: Opened) -> None:
    stages = [(convolution.name, became.name) for convolution, became in residual.stages(residual.blank(), once=True)]
    assert stages == [("stem", "stem"), ("block.one", "block.one"), ("block.two", "block")]


def test_outputs_are_kept_as_they_were_before_work_in_place(residual: Opened) -> None:
    crop = torch.rand(1, 1, 48, 48)
    convolution = next(call for call in residual.trace(crop) if call.name == "block.one")
    assert float(convolution.output.min()) < 0  # the ReLU after it works in place


def test_hooks_are_gone_after_a_trace(residual: Opened) -> None:
    residual.trace(residual.blank())
    assert not any(module._forward_hooks for module in residual.model.modules())


def test_the_margin_a_network_cuts_away_is_found(corner: Opened, residual: Opened) -> None:
    assert corner.seen() == (3, 3, 45, 45)
    assert residual.seen() == (0, 0, 47, 47)  # its last stride ends a pixel before the edge


def test_the_first_filters_are_those_of_the_convolution_that_runs_first(residual: Opened) -> None:
    name, kernels = residual.first_filters()
    assert name == "stem"
    assert kernels.shape == (4, 1, 5, 5)


def test_an_unknown_layer_is_an_error_that_lists_the_known(residual: Opened) -> None:
    assert residual.layer("block.two") is residual.model.get_submodule("block.two")
    with pytest.raises(BackendError, match=r"no layer 'blok'; its convolutions: stem, block\.one, block\.two"):
        residual.layer("blok")
