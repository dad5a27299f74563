import pytest
import torch
from affect_resnet.mobilenet_face import ConvNorm6, MobileNetFace
from torch import nn
from torch.nn import functional


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("groups", [1, 4])
def test_stride_two_is_padded_as_tensorflow_does(side: int, groups: int) -> None:
    layer = ConvNorm6(4, 4, 3, stride=2, groups=groups).eval()
    x = torch.randn(2, 4, side, side)
    out = -(-side // 2)
    total = (out - 1) * 2 + 3 - side
    near, far = total // 2, total - total // 2
    padded = functional.pad(x, (near, far, near, far))
    wanted = functional.conv2d(padded, layer.conv.weight, stride=2, groups=groups)
    wanted = functional.relu6(wanted / (1 + 1e-3) ** 0.5)
    torch.testing.assert_close(layer(x), wanted)


def test_it_has_the_layers_of_mobilenet() -> None:
    model = MobileNetFace()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * 13
    body = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("head"))
    assert body == 3_206_976  # Keras' MobileNet without top has 3,228,864, 21,888 of them running statistics


def test_the_embedding_is_1024_numbers_from_0_to_6_that_feed_the_head(faces: torch.Tensor) -> None:
    model = MobileNetFace(heads=2).eval()
    with torch.inference_mode():
        features = model.features(faces)
        assert features.shape == (8, 1024)
        assert 0 <= float(features.min()) <= float(features.max()) <= 6
        assert torch.equal(model(faces), model.head(features))
    assert model.train()(faces).shape == (8, 2, 7)


def test_the_mean_travels_with_the_code_and_not_with_the_weights() -> None:
    assert "mean" not in MobileNetFace().state_dict()
