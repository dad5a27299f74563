import pytest
import torch
from affect_resnet.dlib_resnet import DlibResNet
from affect_resnet.face_network import EmotionHead, refit, set_affine
from torch import nn

from affect.errors import SettingsError


def test_the_second_head_speaks_in_training_only() -> None:
    head = EmotionHead(16, heads=2)
    features = torch.randn(3, 16)
    both = head.train()(features)
    assert both.shape == (3, 2, 7)
    assert torch.equal(head.eval()(features), both[:, 0])


def test_one_head_is_the_same_in_training_and_serving() -> None:
    head = EmotionHead(16)
    features = torch.randn(3, 16)
    assert head.train()(features).shape == (3, 7)
    assert torch.equal(head.train()(features), head.eval()(features))


def test_extra_dense_layers_lie_before_the_last() -> None:
    head = EmotionHead(16, hidden=(32, 8), dropout=0.4)
    sizes = [(m.in_features, m.out_features) for m in head.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(16, 32), (32, 8), (8, 7)]
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.4] * 3
    assert head(torch.randn(2, 16)).shape == (2, 7)


def test_three_heads_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"model\.heads is 1 or 2"):
        EmotionHead(16, heads=3)


def test_a_side_too_small_is_refused_and_the_smallest_works() -> None:
    with pytest.raises(SettingsError, match=r"model\.side: DlibResNet takes faces from side 103 up, not 102"):
        DlibResNet(side=102)
    assert DlibResNet(side=103).eval().features(torch.rand(1, 1, 48, 48)).shape == (1, 256)


def test_a_batch_norm_can_be_an_affine_map_and_keeps_it_with_other_statistics() -> None:
    norm = nn.BatchNorm2d(3).eval()
    scale, shift = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.0, 3.0, -4.0])
    x = torch.randn(4, 3, 5, 5) * 2 + 1
    wanted = x * scale[:, None, None] + shift[:, None, None]
    set_affine(norm, scale, shift)
    torch.testing.assert_close(norm(x), wanted)
    refit(norm, torch.tensor([5.0, 0.0, -1.0]), torch.tensor([0.01, 30.0, 0.0]))
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [5.0, 0.0, -1.0]
    torch.testing.assert_close(norm(x), wanted)
