from typing import Any

import pytest
import torch
from affect_cnn.compact import VIEW, Block, Compact, SqueezeExcite
from affect_cnn.recipe import COMPACT
from torch import nn

FACES = torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(0))


def small(**of: Any) -> Compact:
    torch.manual_seed(0)
    return Compact(**{"widths": (4, 6, 8, 10), "depths": (1, 1, 1, 1), **of})


def test_the_recipes_network_has_its_size() -> None:
    model = Compact(**COMPACT.model)
    assert sum(p.numel() for p in model.parameters()) == 5_026_742
    assert model.head.out_features == 14


def test_shapes_of_stem_stages_and_embedding() -> None:
    model = small(widths=(4, 6, 8, 10), depths=(2, 1, 1, 3)).eval()
    assert [block.conv1.out_channels for block in model.body if isinstance(block, Block)] == [4, 4, 6, 8, 10, 10, 10]
    shapes: list[tuple[int, ...]] = []
    for block in (model.stem, *model.body):
        block.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    with torch.inference_mode():
        assert model.features(FACES).shape == (3, 10)
    assert shapes == [
        (3, 4, 22, 22), (3, 4, 22, 22), (3, 4, 22, 22), (3, 6, 11, 11), (3, 8, 6, 6), (3, 10, 3, 3), (3, 10, 3, 3),
        (3, 10, 3, 3),
    ]  # fmt: skip


def test_it_looks_at_the_central_44_pixels_only() -> None:
    model = small().eval()
    centre = FACES[..., 2:46, 2:46]
    assert centre.shape[-1] == VIEW
    changed = torch.full_like(FACES, 5.0)
    changed[..., 2:46, 2:46] = centre
    corner = FACES.clone()
    corner[..., 2, 2] += 5
    with torch.inference_mode():
        assert torch.equal(model(FACES), model(changed))
        assert torch.equal(model(FACES), model(centre))
        assert not torch.equal(model(FACES), model(corner))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_two_heads_in_training_and_one_answer_in_serving(share: float) -> None:
    model = small(votes_share=share, dropout=0.0)
    assert model.train()(FACES).shape == (3, 2, 7)
    model.eval()
    with torch.inference_mode():
        found = model(FACES)
        both = model.head(model.features(FACES)).view(-1, 2, 7)
    assert found.shape == (3, 7)
    torch.testing.assert_close(found, (1 - share) * both[:, 0] + share * both[:, 1])


def test_with_one_head_it_answers_with_that() -> None:
    model = small(heads=1)
    assert model.train()(FACES).shape == (3, 7)
    assert model.eval()(FACES).shape == (3, 7)
    assert model.head.out_features == 7


@pytest.mark.parametrize(
    "of", [{"heads": 3}, {"heads": 0}, {"heads": 1, "votes_share": 0.5}, {"votes_share": 1.5}, {"depths": (1, 1)}]
)
def test_arguments_that_make_no_network_are_refused(of: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        small(**of)


def test_a_block_adds_to_its_shortcut() -> None:
    block = Block(4, 4, 1).eval()
    nn.init.zeros_(block.norm2.weight)
    maps = torch.rand(2, 4, 6, 6)
    with torch.inference_mode():
        torch.testing.assert_close(block(maps), maps)


def test_the_gate_scales_whole_channels_between_none_and_all() -> None:
    gate = SqueezeExcite(16)
    maps = torch.rand(2, 16, 5, 5) + 0.5
    with torch.inference_mode():
        scale = gate(maps) / maps
    assert bool(((scale > 0) & (scale < 1)).all())
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))


def test_everything_learns() -> None:
    model = small()
    model.train()(FACES).square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()} == set()


def test_dropout_is_an_argument() -> None:
    assert [m.p for m in small(dropout=0.35).modules() if isinstance(m, nn.Dropout)] == [0.35]
