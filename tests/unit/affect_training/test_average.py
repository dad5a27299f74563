import pytest
import torch
from affect_training.average import WeightAverage, warming_decay
from support.tiny import Tiny
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def test_the_decay_is_reached_in_the_end() -> None:
    assert [warming_decay(0.75, n) for n in (0, 1, 1000)] == [1 / 10, 2 / 11, 0.75]


def torchs(network: Tiny) -> AveragedModel:
    """Return the average as this project had it: torch's own, that reads its count at each step."""

    def update(averages: object, current: object, steps: torch.Tensor | int) -> None:
        now = min(0.75, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(now)(averages, current, steps)  # type: ignore[no-untyped-call]

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def moved(network: Tiny, seed: int) -> Tiny:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*network.parameters(), network.norm.running_mean, network.norm.running_var):
            assert tensor is not None
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
        assert network.norm.num_batches_tracked is not None
        network.norm.num_batches_tracked.add_(7)
    return network


def test_it_is_torchs_to_the_last_bit_and_goes_on_from_its_checkpoint() -> None:
    network = Tiny()
    ours, theirs = WeightAverage(network, 0.75), torchs(network)
    for seed in range(20):
        moved(network, seed)
        theirs.update_parameters(network)
        if seed == 9:  # of an earlier version
            ours.load_state_dict(theirs.state_dict())
        else:
            ours.update_parameters(network)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert int(ours.n_averaged) == 20


def test_the_count_is_not_read_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Tiny()
    average = WeightAverage(network, 0.75)
    average.update_parameters(network)

    def waits(*_: object) -> int:
        raise AssertionError("this waits for a GPU")

    for name in ("__int__", "__bool__", "item", "tolist", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    average.update_parameters(network)
