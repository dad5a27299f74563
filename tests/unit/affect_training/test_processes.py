from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from affect_training.processes import SameEpoch

from affect.errors import SettingsError


def trainer(epochs: list[int]) -> Any:
    """Stand for a trainer whose processes go on from these epochs."""

    def reduce(own: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "max"
        assert own[0] in epochs
        return torch.stack([own, *(torch.tensor([epoch, -epoch]) for epoch in epochs)]).amax(0)

    strategy = SimpleNamespace(root_device=torch.device("cpu"), reduce=reduce)
    return SimpleNamespace(world_size=len(epochs), strategy=strategy)


@pytest.mark.parametrize("epochs", [[0, 3], [3, 0], [2, 2, 3]])
def test_processes_that_go_on_from_different_epochs_all_stop(epochs: list[int]) -> None:
    for own in epochs:
        with pytest.raises(SettingsError, match=f"run: the processes .* {min(epochs)} to {max(epochs)}; .*share it"):
            SameEpoch(Path("run"), own).setup(trainer(epochs), None, "fit")


@pytest.mark.parametrize("epochs", [[3], [0, 0], [3, 3, 3]])
def test_processes_that_agree_go_on(epochs: list[int]) -> None:
    SameEpoch(Path("run"), epochs[0]).setup(trainer(epochs), None, "fit")
