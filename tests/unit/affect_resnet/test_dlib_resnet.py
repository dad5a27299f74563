import pytest
import torch
from affect_resnet.dlib_resnet import DlibResNet, Residual
from torch import nn
from torch.nn import functional


def test_it_has_dlibs_29_convolutions_and_a_stem_of_one_channel() -> None:
    model = DlibResNet()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 29
    assert convolutions[0].weight.shape == (32, 1, 7, 7)
    body = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("head"))
    assert body == 5_575_136


@pytest.mark.parametrize(("side", "small"), [(8, 4), (9, 4), (3, 1)])
def test_a_block_that_halves_adds_the_mean_of_two_by_two_and_zeros(side: int, small: int) -> None:
    block = Residual(4, 6, down=True).eval()
    x = torch.rand(2, 4, side, side)
    nn.init.zeros_(block.conv2.norm.weight)
    nn.init.zeros_(block.conv2.norm.bias)
    out = block(x)
    assert out.shape == (2, 6, small, small)
    torch.testing.assert_close(out[:, :4], functional.avg_pool2d(x, 2))
    assert not out[:, 4:].any()


def test_of_an_even_side_the_last_row_and_column_are_the_shortcut_alone() -> None:
    block = Residual(4, 4, down=True).eval()
    x = torch.rand(1, 4, 8, 8)
    nn.init.constant_(block.conv2.norm.bias, 10.0)
    added = block(x) - functional.avg_pool2d(x, 2)
    assert not added[:, :, 3].any()
    assert not added[:, :, :, 3].any()
    assert bool((added[:, :, :3, :3] > 1).all())


def test_features_feed_the_head(faces: torch.Tensor) -> None:
    model = DlibResNet(side=104, heads=2).eval()
    with torch.inference_mode():
        features = model.features(faces)
        assert features.shape == (8, 256)
        assert torch.equal(model(faces), model.head(features))
    assert model.train()(faces).shape == (8, 2, 7)


def test_faces_of_other_sides_are_enlarged_too() -> None:
    model = DlibResNet(side=104).eval()
    assert model(torch.rand(2, 1, 44, 44)).shape == (2, 7)
