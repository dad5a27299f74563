import json

import numpy as np
import pytest
from affect_training.data import FaceData, Split
from affect_training.data.leaks import Face, find_leaks, leaking, leaking_rows, unseen
from numpy.typing import NDArray

from affect.errors import MediaError


def split(images: NDArray[np.uint8], labels: list[int], rows: list[int]) -> Split:
    return Split(images, np.array(labels, np.int64), np.array(rows, np.int64))


@pytest.fixture(scope="module")
def data() -> FaceData:
    """Training 0 = 1 = PublicTest 12; Training 3 mirrored = PrivateTest 21; Training 5 = PublicTest 11, label apart."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (9, 6, 6), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    training = split(faces[[0, 0, 1, 2, 3]], [3, 3, 1, 2, 4], [0, 1, 2, 3, 5])
    public = split(faces[[5, 3, 0]], [0, 2, 3], [10, 11, 12])
    private = split(np.stack([faces[6], faces[2][:, ::-1], faces[7]]), [0, 2, 1], [20, 21, 22])
    return FaceData({"Training": training, "PublicTest": public, "PrivateTest": private}, {}, "hash")


def test_leaks_within_and_across_splits(data: FaceData) -> None:
    report = find_leaks(data)
    assert report.faces == {"Training": 5, "PublicTest": 3, "PrivateTest": 3}
    (within,) = report.pairs("Training", "Training")
    assert (within.first, within.second) == (Face("Training", 0, 3), Face("Training", 1, 3))
    assert {(d.first.row, d.second.row) for d in report.pairs("Training", "PublicTest")} == {(0, 12), (1, 12), (5, 11)}
    (mirrored,) = report.pairs("PrivateTest", "Training")
    assert (mirrored.first.row, mirrored.second.row) == (3, 21)
    assert mirrored.mirrored
    assert report.pairs("PublicTest", "PrivateTest") == ()
    assert report.leaking("Training", "PublicTest") == 3
    assert report.leaking("PublicTest", "Training") == 2
    assert report.leaking("Training", "Training") == 2


def test_photographs_gather_what_pairs_share(data: FaceData) -> None:
    rows = [{face.row for face in faces} for faces in find_leaks(data).photographs()]
    assert sorted(rows, key=min) == [{0, 1, 12}, {3, 21}, {5, 11}]


def test_conflicting_labels_are_listed(data: FaceData) -> None:
    report = find_leaks(data)
    assert report.conflicts() == ((Face("PublicTest", 11, 2), Face("Training", 5, 4)),)
    assert "PublicTest 11 fear, Training 5 sad" in report.to_text()


def test_the_report_as_json_and_text(data: FaceData) -> None:
    facts = json.loads(json.dumps(find_leaks(data).to_json()))
    assert facts["within"]["Training"] == {"pairs": 1, "identical": 1, "faces": 2}
    assert facts["across"][0] == {"splits": ["Training", "PublicTest"], "pairs": 3, "identical": 3, "faces": [3, 2]}
    assert facts["photographs"] == 3
    assert facts["conflicts"] == [[["PublicTest", 11, "fear"], ["Training", 5, "sad"]]]
    assert len(facts["duplicates"]) == 5
    text = find_leaks(data).to_text(conflicts=0)
    assert "within Training: 2 of 5 faces occur more than once (1 pairs, 1 identical)" in text
    assert "Training / PublicTest: 3 faces of Training show 2 of PublicTest" in text
    assert "... and 1 more" in text


def test_leaking_rows_are_those_of_the_file(data: FaceData) -> None:
    rows = leaking_rows(data)
    assert rows.dtype == np.int64
    assert rows.tolist() == [0, 1, 3, 5]
    assert leaking_rows(data, ["PublicTest"]).tolist() == [0, 1, 5]
    training = data.split("Training")
    kept = training.take(~np.isin(training.rows, rows))
    assert kept.rows.tolist() == [2]


def test_faces_of_other_origin_leak_too(data: FaceData) -> None:
    training, private = data.split("Training"), data.split("PrivateTest")
    images = np.stack([private.images[0], training.images[2], private.images[1][:, ::-1]])
    others = split(images, [0, 0, 0], [0, 1, 2])
    assert leaking(others, data).tolist() == [True, False, True]
    assert leaking(others, data, ["PublicTest"]).tolist() == [False, False, False]


def test_a_data_set_without_other_splits_leaks_nothing(data: FaceData) -> None:
    alone = FaceData({"Training": data.split("Training")}, {}, "hash")
    assert leaking_rows(alone).tolist() == []
    assert find_leaks(alone).to_json()["across"] == []


def test_unseen_faces_share_no_photograph_with_training(data: FaceData) -> None:
    assert unseen(data, "PublicTest").rows.tolist() == [10]
    assert unseen(data, "PrivateTest").rows.tolist() == [20, 22]


def test_unseen_wants_something_to_compare_with(data: FaceData) -> None:
    for one, name in ((data, "Training"), (FaceData({"PublicTest": data.split("PublicTest")}, {}, "x"), "PublicTest")):
        with pytest.raises(MediaError, match=f"unseen faces of {name}"):
            unseen(one, name)
