"""FER2013 itself, where it is there: the published counts, and copies across its splits."""

import numpy as np
import pytest
from affect_training.data import FaceData, load_faces
from affect_training.data.duplicates import find_pairs
from affect_training.data.leaks import leaking_rows
from support.data import named_path

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FaceData:
    return load_faces(named_path("AFFECT_FER2013"), tmp_path_factory.mktemp("cache"))


def test_classes_are_as_published(data: FaceData) -> None:
    """Training: 3995 436 4097 7215 4830 3171 4965 (Goodfellow 2013), the blank ones among them."""
    training = data.split("Training")
    assert np.bincount(training.labels).tolist() == [3988, 436, 4097, 7214, 4829, 3170, 4963]
    assert len(training) + data.blank["Training"] == 28_709
    assert len(data.split("PublicTest")) + data.blank["PublicTest"] == 3_589


def test_photographs_recur(data: FaceData) -> None:
    pairs = find_pairs(data.split("PublicTest").images)
    assert sum(pair.identical for pair in pairs) == 26
    assert len(pairs) == pytest.approx(78, abs=3)  # resizing rounds differently on another machine
    assert len(leaking_rows(data, ["PublicTest"])) == pytest.approx(1024, abs=10)
