"""The training data as batches of row numbers: everything else is gathered and changed on the device."""

from collections.abc import Callable, Iterator

import torch

from affect.errors import SettingsError


class BatchIndices:
    """An iterable of int64 [B] row numbers, in a new order every epoch.

    The order follows from (seed, epoch) alone, so a resumed run sees what an unbroken one would have seen. In a
    distributed run every process takes an equal share of each batch, so that the mean of their gradients is that of
    the batch; up to `world - 1` rows of a batch wait for another epoch.

    Args:
        count: Rows.
        batch_size: Rows a batch, over all processes.
        seed: The run's.
        epoch: Tells the current epoch.
        rank, world: Which of how many processes this is.

    Raises:
        SettingsError: There are fewer rows in a batch than processes.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, epoch: Callable[[], int], rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, epoch
        self.rank, self.world = rank, world
        if min(batch_size, count) < world:
            raise SettingsError(f"{world} processes share a batch of {min(batch_size, count)}; raise train.batch_size")

    def __len__(self) -> int:
        """Batches an epoch; a rest smaller than half a batch joins none and waits for the next epoch."""
        full, rest = divmod(self.count, self.batch_size)
        return max(full + (rest * 2 >= self.batch_size and rest >= self.world), 1)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for batch in self.whole():
            even = len(batch) - len(batch) % self.world
            yield batch[self.rank : even : self.world]

    def whole(self) -> Iterator[torch.Tensor]:
        """Yield the epoch's batches as they are over all processes."""
        order = torch.randperm(self.count, generator=epoch_generator(self.seed, self.epoch(), "order"))
        for number in range(len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]


def epoch_generator(seed: int, epoch: int, purpose: str, rank: int = 0) -> torch.Generator:
    """Return a generator on the CPU that depends on nothing else: one for each purpose, epoch and process."""
    salt = sum(ord(letter) * 31**k for k, letter in enumerate(purpose)) % 65_521
    return torch.Generator().manual_seed((((seed * 100_003 + epoch) * 65_537 + salt) * 1_009 + rank) % 2**63)
