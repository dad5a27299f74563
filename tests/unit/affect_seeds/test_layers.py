"""The dropout with the fast dice keeps what nn.Dropout promises."""

import pytest
import torch
from affect_seeds.layers import MapDropout


@pytest.mark.parametrize("rate", [0.2, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drops_its_share_and_scales_the_rest(rate: float, dtype: torch.dtype) -> None:
    x = torch.ones(7, 33, 41, 43, dtype=dtype)
    out = MapDropout(rate)(x)
    assert out.dtype == dtype
    dropped = (out == 0).float().mean().item()
    assert dropped == pytest.approx(rate, abs=5 * (rate * (1 - rate) / x.numel()) ** 0.5)
    assert torch.equal(out[out != 0].unique(), torch.tensor([1 / (1 - rate)], dtype=dtype))


def test_its_dice_follow_the_seed_and_do_not_repeat() -> None:
    dropout, x = MapDropout(0.5), torch.ones(4, 5, 6, 7)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = dropout(x), dropout(x)
        torch.manual_seed(3)
        assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 5, 7)])
def test_keeps_the_shape(shape: tuple[int, ...]) -> None:
    assert MapDropout(0.5)(torch.ones(shape)).shape == shape


def test_even_a_rate_of_almost_one_drops() -> None:
    assert (MapDropout(1 - 1e-7)(torch.ones(1000)) == 0).float().mean() > 0.99


def test_keeps_the_memory_order() -> None:
    maps = torch.ones(2, 3, 8, 8).to(memory_format=torch.channels_last)
    assert MapDropout(0.5)(maps).is_contiguous(memory_format=torch.channels_last)
    assert MapDropout(0.5)(maps[:, :, ::2]).shape == (2, 3, 4, 8)


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.ones(50, 50, requires_grad=True)
    out = MapDropout(0.25)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_evaluation_changes_nothing_and_the_ends_are_torchs(rate: float) -> None:
    x = torch.randn(6, 6)
    assert torch.equal(MapDropout(rate).eval()(x), x)
    if rate in {0.0, 1.0}:
        assert torch.equal(MapDropout(rate)(x), x * (1 - rate))
