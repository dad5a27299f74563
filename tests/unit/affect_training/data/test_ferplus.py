from pathlib import Path

import numpy as np
import pytest
from affect_training.data.faces import FaceTable
from affect_training.data.ferplus import find_votes, read_votes

from affect.errors import MediaError
from affect.labels import EMOTIONS

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def table(*usage: int) -> FaceTable:
    count = len(usage)
    return FaceTable(np.zeros((count, 48, 48), np.uint8), np.zeros(count, np.int8), np.array(usage, np.int8))


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("column", "emotion"),
    list(enumerate(["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"])),
)
def test_each_column_is_one_of_ours(tmp_path: Path, column: int, emotion: str) -> None:
    counts = ["0"] * 10
    counts[column] = "7"
    counts[8] = "3"
    path = write(tmp_path / "fer2013new.csv", "Training,fer0.png," + ",".join(counts))
    votes = read_votes(path, table(0))
    assert votes.dtype == np.float32
    assert votes.shape == (1, 7)
    assert EMOTIONS[int(votes[0].argmax())] == emotion
    assert votes.sum() == 1


def test_only_votes_for_our_seven_count(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", "Training,,0,0,0,0,0,0,0,5,3,2", "PublicTest,b,2,0,0,0,6,0,0,1,1,0")
    votes = read_votes(path, table(0, 1))
    assert votes[0].tolist() == [0] * 7
    np.testing.assert_allclose(votes[1], [0.75, 0, 0, 0, 0, 0, 0.25])


@pytest.mark.parametrize("rows", [1, 3])
def test_another_number_of_rows_is_refused(tmp_path: Path, rows: int) -> None:
    path = write(tmp_path / "v.csv", *["Training,a,10,0,0,0,0,0,0,0,0,0"] * rows)
    with pytest.raises(MediaError, match=f"expected 2 rows, one for each row of the data, got {rows}"):
        read_votes(path, table(0, 0))


def test_rows_of_another_split_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", "Training,a,10,0,0,0,0,0,0,0,0,0", "Training,b,10,0,0,0,0,0,0,0,0,0")
    with pytest.raises(MediaError, match="row 3: expected Usage PublicTest as in the data, got 'Training'"):
        read_votes(path, table(0, 1))


@pytest.mark.parametrize("word", ["", "x", "-1", "2.5"])
def test_a_vote_that_is_no_count_is_refused(tmp_path: Path, word: str) -> None:
    path = write(tmp_path / "v.csv", f"Training,a,{word},0,0,0,0,0,0,0,0,0")
    with pytest.raises(MediaError, match=r"row 2: expected a number of votes in each of neutral,"):
        read_votes(path, table(0))


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", header=HEADER.replace("fear,", ""))
    with pytest.raises(MediaError, match=r"expected columns Usage,neutral,.*fear, got Usage,Image name"):
        read_votes(path, table(0))


def test_the_votes_lie_beside_the_data(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=f"{tmp_path}: expected fer2013new.csv"):
        find_votes(tmp_path / "fer2013.csv")
    votes = write(tmp_path / "fer2013new.csv")
    assert find_votes(tmp_path / "fer2013.csv") == find_votes(tmp_path) == votes
