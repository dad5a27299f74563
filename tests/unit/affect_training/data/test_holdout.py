from pathlib import Path

import numpy as np
import pytest
from affect_training.data import FaceData, Split
from affect_training.data.holdout import hold_out

from affect.errors import MediaError, SettingsError


def split(labels: list[int], first_row: int = 0) -> Split:
    count = len(labels)
    rows = np.arange(first_row, first_row + count, dtype=np.int64)
    images = rows.astype(np.uint8)[:, None, None].repeat(48, axis=1).repeat(48, axis=2)
    return Split(images, np.array(labels, np.int64), rows)


def data(labels: list[int]) -> FaceData:
    """Training with these labels, and a PrivateTest."""
    splits = {"Training": split(labels), "PrivateTest": split([3], 100)}
    return FaceData(splits, {"Training": 2, "PrivateTest": 0}, "hash", "folders", Path("raf"))


def test_the_same_share_of_every_class_is_held_out() -> None:
    labels = [0] * 20 + [1] * 10 + [4] * 5
    found = hold_out(data(labels), 0.2)
    assert list(found.splits) == ["Training", "PublicTest", "PrivateTest"]
    training, held = found.split("Training"), found.split("PublicTest")
    assert np.bincount(held.labels, minlength=7).tolist() == [4, 2, 0, 0, 1, 0, 0]
    assert sorted([*training.rows, *held.rows]) == list(range(35))
    for part in (training, held):
        assert part.rows.tolist() == sorted(part.rows)
        assert part.labels.tolist() == [labels[row] for row in part.rows]
        assert part.images[:, 0, 0].tolist() == part.rows.tolist()
    assert found.split("PrivateTest").rows.tolist() == [100]
    assert found.blank == {"Training": 2, "PublicTest": 0, "PrivateTest": 0}
    assert (found.sha256, found.kind, found.path) == ("hash", "folders", Path("raf"))


def test_the_draw_is_the_same_every_time_and_no_mere_beginning() -> None:
    whole = data([0] * 30 + [6] * 30)
    first, second = (hold_out(whole, 0.1).split("PublicTest").rows.tolist() for _ in range(2))
    assert first == second
    assert first != [0, 1, 2, 30, 31, 32]


def test_nothing_is_held_out_of_data_left_as_they_are() -> None:
    whole = data([0, 1])
    assert hold_out(whole, 0) is whole


def test_what_cannot_be_held_out_is_told() -> None:
    whole = data([0, 1, 2])
    with pytest.raises(SettingsError, match=r"data\.holdout: 0\.1 of 3 faces holds out no face of any class"):
        hold_out(whole, 0.1)
    both = FaceData({**whole.splits, "PublicTest": split([0], 50)}, {}, "hash", path=Path("raf"))
    with pytest.raises(SettingsError, match=r"data\.holdout: raf has a split PublicTest; set data\.holdout = 0"):
        hold_out(both, 0.5)
    with pytest.raises(MediaError, match="no split 'Training'"):
        hold_out(FaceData({"PrivateTest": split([0])}, {}, "hash"), 0.5)
