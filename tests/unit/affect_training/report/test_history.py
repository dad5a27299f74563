from pathlib import Path

import pytest
from affect_training.report.history import Epoch, curves, read_log
from affect_training.report.style import LIGHT

from affect.errors import MediaError

HEAD = "epoch,lr,train_loss,public_loss,public_accuracy,public_macro_recall,seconds\n"


def test_a_log_of_a_run_is_read(trained: Path) -> None:
    log = read_log(trained / "log.csv")
    assert [row.epoch for row in log] == [1, 2, 3]
    assert all(0 <= row.accuracy <= 1 and row.macro_recall is not None for row in log)


def test_a_log_of_early_versions_has_no_recall(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,lr,train_loss,public_loss,public_accuracy,seconds\n1,0.02,1.5,1.6,0.4,19\n")
    assert read_log(path) == (Epoch(1, 0.02, 1.5, 1.6, 0.4, None),)


@pytest.mark.parametrize("row", ["2,0.1,x,1,1,1,1", "2,0.1", ",,,,,,"])
def test_a_broken_row_is_named(row: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{HEAD}1,0.1,2,1,.3,.2,5\n{row}\n")
    with pytest.raises(MediaError, match=r"log\.csv, row 3: expected epoch, lr, train_loss"):
        read_log(path)


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="not the log of a run"):
        read_log(tmp_path / "log.csv")


@pytest.mark.parametrize("count", [1, 5])
def test_curves_show_every_epoch(count: int) -> None:
    log = tuple(
        Epoch(k, 0.1 / 2 ** (k // 4), 2 / k, 1.5 / k, 0.1 * k, None if k == 2 else 0.09 * k)
        for k in range(1, count + 1)
    )
    plot = curves(log, 1)
    losses, scores, rates = plot.render(LIGHT).axes
    assert [line.get_xdata().tolist() for line in losses.lines[:2]] == [list(range(1, count + 1))] * 2  # type: ignore[union-attr]
    assert len(scores.lines[1].get_xdata()) == (1 if count == 1 else 4)  # type: ignore[arg-type]
    assert rates.get_yscale() == ("linear" if count == 1 else "log")
    assert f"{count} epochs" in plot.caption
    assert "epoch 1, whose weights" in plot.caption
