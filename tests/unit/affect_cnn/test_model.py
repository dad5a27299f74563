from pathlib import Path

import onnxruntime
import pytest
import torch
from affect_cnn.model import FractionalMaxPool, Nguyen2017, keras_parameter_count
from torch import nn


def test_it_has_as_many_parameters_as_the_report_says() -> None:
    assert keras_parameter_count(Nguyen2017()) == 5_008_807
    assert keras_parameter_count(Nguyen2017(batch_norm=False)) == 5_008_295


def test_keras_counts_running_statistics_and_torch_does_not() -> None:
    norm = nn.BatchNorm2d(8)
    assert sum(p.numel() for p in norm.parameters()) == 16
    assert keras_parameter_count(norm) == 32
    assert sum(p.numel() for p in Nguyen2017().parameters()) == 5_008_807 - 2 * (32 + 32 + 64)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_every_block_has_the_shape_of_the_layer_table(batch_norm: bool) -> None:
    model = Nguyen2017(batch_norm=batch_norm).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, block in model.named_children():
        block.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)}))
    with torch.inference_mode():
        model(torch.zeros(2, 1, 48, 48))
    assert shapes == {
        "block1": (2, 32, 21, 21),
        "block2": (2, 32, 10, 10),
        "block3": (2, 64, 5, 5),
        "block4": (2, 7),
    }


def test_it_looks_at_the_central_42_pixels_only() -> None:
    model = Nguyen2017().eval()
    faces = torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    frame = torch.ones(48, 48, dtype=torch.bool)
    frame[3:45, 3:45] = False
    changed = torch.where(frame, torch.full_like(faces, 5.0), faces)
    corner = faces.clone()
    corner[..., 3, 3] += 5.0
    with torch.inference_mode():
        assert torch.equal(model(faces), model(changed))
        assert not torch.equal(model(faces), model(corner))


def test_it_starts_as_keras_does() -> None:
    torch.manual_seed(0)
    model = Nguyen2017()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            assert not module.bias.any()
    dense = model.get_submodule("block4.2")
    assert isinstance(dense, nn.Linear)
    assert (dense.in_features, dense.out_features) == (1600, 3072)
    limit = (6 / (1600 + 3072)) ** 0.5  # Glorot uniform
    assert float(dense.weight.detach().abs().max()) == pytest.approx(limit, rel=1e-3)


def test_dropout_is_an_argument_and_rests_in_serving() -> None:
    rates = [m.p for m in Nguyen2017(dropout=0.35).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.35]
    model = Nguyen2017().eval()
    faces = torch.randn(3, 1, 48, 48)
    with torch.inference_mode():
        assert torch.equal(model(faces), model(faces))


def test_leaky_units_leak_three_tenths_and_norms_use_keras_epsilon() -> None:
    model = Nguyen2017()
    assert [m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)] == [0.3] * 4
    assert [m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)] == [1e-3] * 3
    assert not [m for m in Nguyen2017(batch_norm=False).modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_embedding_is_the_dense_layer_before_the_last(batch_norm: bool) -> None:
    model = Nguyen2017(batch_norm=batch_norm).eval()
    faces = torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embedding = model.features(faces)
        assert embedding.shape == (2, 3072)
        torch.testing.assert_close(model.head(embedding), model(faces))
    assert model.head is model.get_submodule("block4.4")


def test_the_options_the_report_tried() -> None:
    model = Nguyen2017(activation="relu", init="truncated_normal")
    assert not [m for m in model.modules() if isinstance(m, nn.LeakyReLU)]
    assert len([m for m in model.modules() if isinstance(m, nn.ReLU)]) == 4
    weight = model.get_submodule("block4.2").get_parameter("weight").detach()
    assert float(weight.abs().max()) <= 0.1
    assert float(weight.std()) == pytest.approx(0.044, abs=0.001)  # a normal of .05, cut at two deviations
    with pytest.raises(ValueError, match="activation is one of"):
        Nguyen2017(activation="swish")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["float32", "bfloat16"])
def test_what_the_report_tried_and_named_can_be_had(mode: str) -> None:
    torch.manual_seed(0)
    faces = torch.randn(3, 1, 48, 48)
    plain = sum(p.numel() for p in Nguyen2017().parameters())
    deeper = Nguyen2017(first_conv=True, extra_dense=1000)
    # 3x3 of 32 and its norm; 5x5 over 32 maps instead of 1; 1,000 neurons between 3,072 and 7.
    more = (9 * 32 + 32) + 64 + 25 * 31 * 32 + (3072 * 1000 + 1000) + (1000 - 3072) * 7
    assert sum(p.numel() for p in deeper.parameters()) == plain + more
    fractional = Nguyen2017(pool="fractional")
    for network, width in ((deeper, 1000), (fractional, 3072)):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mode == "bfloat16"):
            assert network.eval().features(faces).shape == (3, width)
            torch.testing.assert_close(network(faces), network(faces))  # one face has one answer
    with torch.no_grad():
        fractional.train().block4[1].eval()  # no dropout
        assert not torch.equal(fractional(faces), fractional(faces))
    with pytest.raises(ValueError, match="pool is max or fractional"):
        Nguyen2017(pool="mean")  # type: ignore[arg-type]


def test_the_fixed_places_of_fractional_pooling_are_those_of_torch() -> None:
    torch.manual_seed(0)
    pool, maps = FractionalMaxPool(28).eval(), torch.randn(2, 3, 42, 40)
    samples = torch.full((2, 3, 2), 0.5)
    expected = torch.nn.functional.fractional_max_pool2d(maps, 2, output_size=28, _random_samples=samples)
    torch.testing.assert_close(pool(maps), expected, rtol=0, atol=0)


def test_fractional_pooling_becomes_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, faces = Nguyen2017(pool="fractional").eval(), torch.randn(2, 1, 48, 48)
    path = tmp_path / "net.onnx"
    torch.onnx.export(network, (faces,), str(path), input_names=["faces"], dynamo=True, verbose=False)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"faces": faces.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(faces).detach(), rtol=1e-4, atol=1e-4)
