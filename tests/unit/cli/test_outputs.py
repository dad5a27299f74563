from pathlib import Path

import pytest

from affect.cli.outputs import Writer


class Full:
    """A file on a disk that is full."""

    def close(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_file_that_cannot_be_closed_leaves_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.csv")
    writer._file.close()
    writer._file = Full()  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space"), writer:
        pass
    assert not list(tmp_path.iterdir())
