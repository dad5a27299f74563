import torch
from affect_training.explain.dream import DreamSettings, dream
from affect_training.explain.network import Opened

QUICK = DreamSettings(odds=3.0, steps=12, octaves=2, rate=0.1, variation=0.1, keep=0.1)


def test_a_dream_raises_the_probability_of_its_emotion(corner: Opened) -> None:
    before = corner.probabilities(corner.blank())[0]
    dreamt = dream(corner, None, (0, 1), QUICK)
    assert dreamt.shape == (2, 1, 48, 48)
    assert 0 <= float(dreamt.min()) <= float(dreamt.max()) <= 1
    after = corner.probabilities(dreamt)
    assert float(after[0, 0]) > float(before[0]) + 0.1
    assert float(after[1, 1]) > float(before[1]) + 0.1


def test_it_is_light_where_the_network_looks_for_the_emotion(corner: Opened) -> None:
    first, second = dream(corner, None, (0, 1), QUICK)
    assert float(first[0, 5:15, 5:15].mean()) > float(first[0, 33:43, 33:43].mean()) + 0.2
    assert float(second[0, 33:43, 33:43].mean()) > float(second[0, 5:15, 5:15].mean()) + 0.2


def test_the_seed_decides_all_and_nothing_else_does(corner: Opened) -> None:
    state = torch.random.get_rng_state()
    one = dream(corner, None, (0,), QUICK, seed=4)
    torch.manual_seed(99)
    assert torch.equal(one, dream(corner, None, (0,), QUICK, seed=4))
    assert not torch.equal(one, dream(corner, None, (0,), QUICK, seed=5))
    torch.random.set_rng_state(state)


def test_a_face_that_is_enough_already_stays_as_it_is(corner: Opened) -> None:
    face = torch.zeros(1, 1, 48, 48)
    face[..., 3:17, 3:17] = 1
    with torch.no_grad():
        odds = float(torch.logit(corner.logits(face).softmax(dim=1)[0, 0]))
    kept = dream(corner, face, (0,), DreamSettings(odds=odds - 1, steps=4, octaves=1, jitter=0.0, blur=0.0))
    assert torch.allclose(kept, face, atol=1e-5)


def test_the_price_keeps_the_change_small(corner: Opened) -> None:
    face = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    free = dream(corner, face, (1,), QUICK) - face
    dear = dream(corner, face, (1,), DreamSettings(odds=3.0, steps=12, octaves=2, rate=0.1, keep=1000.0)) - face
    assert float(dear.abs().mean()) < 0.5 * float(free.abs().mean())
