import pytest
from affect_training.search_space import Choices, Range, grid_of, parse_space, tables_of

from affect.errors import SettingsError


def test_lists_ranges_and_log_ranges() -> None:
    space = parse_space(
        ["lr=log:0.001:0.1", "train.batch_size=64,128", "model.dropout=0.1:0.5", "model.width=4:16", "epochs=1:9:4"]
    )
    assert list(space) == ["train.lr", "train.batch_size", "model.dropout", "model.width", "train.epochs"]
    assert space["train.lr"] == Range(0.001, 0.1, log=True, step=None, whole=False)
    assert space["train.batch_size"] == Choices({64: 64, 128: 128})
    assert space["model.dropout"] == Range(0.1, 0.5, log=False, step=None, whole=False)
    width, epochs = space["model.width"], space["train.epochs"]
    assert isinstance(width, Range)
    assert width.whole
    assert isinstance(epochs, Range)
    assert epochs.grid() == [1, 5, 9]


@pytest.mark.parametrize(
    ("search", "whole"),
    [
        ("votes_weight=0:1", False),
        ("augment.mixup=0:1", False),
        ("ema=0:1", False),
        ("model.dropout=0:1", False),
        ("model.width=0:1", True),
        ("model.unheard=0:1", True),
        ("epochs=1:9", True),
        ("augment.size=40:48", True),
    ],
)
def test_whole_ends_of_a_fraction_are_no_whole_numbers(search: str, whole: bool) -> None:
    (found,) = parse_space([search], {"dropout": 0.2, "width": 8}).values()
    assert isinstance(found, Range)
    assert found.whole == whole


def test_words_flags_and_lists_are_choices() -> None:
    space = parse_space(["optimizer=sgd,adamw", "augment.mirror=true,false", "augment.zoom=[0.9, 1.1],[0.8, 1.2]"])
    words, flags, lists = space.values()
    assert words.grid() == ["sgd", "adamw"]
    assert [flags.value(key) for key in flags.grid() or []] == [True, False]
    assert [lists.value(key) for key in lists.grid() or []] == [[0.9, 1.1], [0.8, 1.2]]
    assert all(isinstance(key, str) for key in lists.grid() or [])  # what a data base can hold


def test_a_grid_is_every_combination() -> None:
    grid = grid_of(parse_space(["lr=0.1,0.2", "model.dropout=0:0.5:0.25"]))
    assert grid == [{"train.lr": lr, "model.dropout": rate} for lr in (0.1, 0.2) for rate in (0.0, 0.25, 0.5)]


def test_settings_become_tables() -> None:
    assert tables_of({"train.lr": 0.1, "model.a": 1, "train.ema": 0.9}) == {
        "train": {"lr": 0.1, "ema": 0.9},
        "model": {"a": 1},
    }


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("lr", "KEY=VALUES"),
        ("lr=", "KEY=VALUES"),
        ("=1:2", "KEY=VALUES"),
        ("optim.lr=1:2", "model, data, augment, train"),
        ("lr=0.2:0.1", "LOW < HIGH"),
        ("lr=log:0:1", "above 0"),
        ("lr=log:0.1:1:0.1", "has no steps"),
        ("lr=0:1:0", "step above 0"),
        ("lr=log:0.1", "log:LOW:HIGH"),
        ("lr=0.1,0.1", "twice"),
    ],
)
def test_what_is_no_search_is_refused_with_what_was_expected(search: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_space([search])


def test_a_key_twice_or_none_at_all_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"train\.lr is given twice"):
        parse_space(["lr=1,2", "train.lr=3,4"])
    with pytest.raises(SettingsError, match="nothing to tune"):
        parse_space([])


def test_a_grid_wants_an_end_of_values() -> None:
    with pytest.raises(SettingsError, match=r"train\.lr: a grid wants a list"):
        grid_of(parse_space(["lr=0.1:0.2"]))
    with pytest.raises(SettingsError, match="a grid wants a list"):
        grid_of(parse_space(["lr=log:1:100"]))
