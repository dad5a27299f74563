from itertools import chain

import pytest
import torch
from affect_training.loader import BatchIndices, epoch_generator

from affect.errors import SettingsError


def batches(
    count: int, batch_size: int, seed: int = 0, epoch: int = 0, rank: int = 0, world: int = 1
) -> list[list[int]]:
    found = BatchIndices(count, batch_size, seed, lambda: epoch, rank, world)
    made = [batch.tolist() for batch in found]
    assert len(made) == len(found)
    return made


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    first, second = batches(64, 16), batches(64, 16, epoch=1)
    assert [len(batch) for batch in first] == [16] * 4
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(64))
    assert first != second


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    before = batches(64, 16, seed=3, epoch=7)
    torch.manual_seed(2)
    assert batches(64, 16, seed=3, epoch=7) == before
    assert batches(64, 16, seed=4, epoch=7) != before


def test_one_object_goes_through_all_epochs() -> None:
    epochs = iter(range(3))
    found = BatchIndices(64, 16, 5, lambda: next(epochs))
    seen = [[batch.tolist() for batch in found] for _ in range(3)]
    assert seen == [batches(64, 16, 5, epoch) for epoch in range(3)]


@pytest.mark.parametrize(
    ("count", "sizes"), [(40, [16, 16, 8]), (39, [16, 16]), (47, [16, 16, 15]), (5, [5]), (16, [16]), (1, [1])]
)
def test_a_rest_smaller_than_half_a_batch_waits(count: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in batches(count, 16)] == sizes


# Several processes


@pytest.mark.parametrize(("count", "size", "world"), [(64, 16, 2), (64, 16, 3), (47, 16, 4), (40, 15, 2), (9, 4, 4)])
def test_processes_share_each_batch_equally(count: int, size: int, world: int) -> None:
    shares = [batches(count, size, epoch=2, rank=rank, world=world) for rank in range(world)]
    whole = [batch.tolist() for batch in BatchIndices(count, size, 0, lambda: 2, 0, world).whole()]
    assert {len(share) for share in shares} == {len(whole)}
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert {len(part) for part in parts} == {len(batch) // world}
        together = list(chain(*parts))
        assert len(set(together)) == len(together)
        assert set(together) <= set(batch)
    assert whole == batches(count, size, epoch=2)[: len(whole)]


def test_no_process_goes_without() -> None:
    shares = [batches(5, 4, rank=rank, world=3) for rank in range(3)]
    assert [len(share) for share in shares] == [1, 1, 1]  # the rest, one row, is not enough for three
    with pytest.raises(SettingsError, match=r"4 processes share a batch of 3; raise train\.batch_size"):
        BatchIndices(64, 3, 0, lambda: 0, 0, 4)
    with pytest.raises(SettingsError, match="4 processes share a batch of 2"):
        BatchIndices(2, 16, 0, lambda: 0, 0, 4)


# Generators


def test_generators_differ_by_all_they_are_made_of() -> None:
    made = {
        (seed, epoch, purpose, rank): int(
            torch.randint(2**62, (1,), generator=epoch_generator(seed, epoch, purpose, rank))
        )
        for seed in (0, 1, 2**32 - 1)
        for epoch in (0, 1, 159)
        for purpose in ("order", "augment")
        for rank in (0, 1)
    }
    assert len(set(made.values())) == len(made)
    again = torch.randint(2**62, (1,), generator=epoch_generator(1, 159, "order", 1))
    assert int(again) == made[1, 159, "order", 1]
