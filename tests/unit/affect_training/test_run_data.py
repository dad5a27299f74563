from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_training import teachers
from support.runs import facts, log, quiet, write_aux
from support.tiny import tiny_faces, tiny_split

from affect.errors import MediaError, SettingsError

from .conftest import Start


def test_data_without_a_validation_split_are_refused(start: Start) -> None:
    only = tiny_faces()
    del only.splits["PublicTest"]
    with pytest.raises(MediaError, match="no split 'PublicTest'"):
        start(faces=only)


def test_auxiliary_faces_join_the_training_split_at_their_weight(start: Start, tmp_path: Path) -> None:
    write_aux(tmp_path / "aux" / "more", tiny_split(10, 9))
    one = start(aux=tmp_path / "aux", epochs=1, tables={"data": {"aux": ["more"], "aux_weight": 0.25}})
    assert (len(one.training), len(one.validation)) == (74, 21)
    assert one.training.weights is not None
    assert one.training.weights.tolist() == [1.0] * 64 + [0.25] * 10
    joined, made = one.training.images[64:], tiny_split(10, 9).images
    assert {face.tobytes() for face in joined} == {face.tobytes() for face in made}
    assert one.normalise == start("without").normalise  # of FER2013's own faces
    one.fit(quiet)
    assert facts(one)["faces_trained_on"] == 74
    assert facts(one)["aux"] == str(tmp_path / "aux")
    assert facts(one)["data_set"]["aux"] == ["more"]


def test_auxiliary_sets_want_a_folder(start: Start) -> None:
    one = start(tables={"data": {"aux": ["more"]}})
    with pytest.raises(SettingsError, match=r"data\.aux names more; say where they are: --aux FOLDER"):
        one.fit(quiet)
    assert not one.folder.exists()


def test_leaking_faces_are_dropped(start: Start) -> None:
    leaky = tiny_faces()
    leaky.split("PublicTest").images[0] = leaky.split("Training").images[3]
    assert len(start(faces=leaky).training) == 64
    one = start(faces=leaky, tables={"data": {"drop_leaks": True}})
    assert len(one.training) == 63
    assert 3 not in one.training.rows


def test_without_a_validation_split_a_share_of_training_is_held_out(start: Start) -> None:
    only = tiny_faces()
    del only.splits["PublicTest"]
    one = start(faces=only, epochs=1, tables={"data": {"holdout": 0.25}})
    assert (len(one.training), len(one.validation)) == (50, 14)  # two of each class
    assert not set(one.training.rows) & set(one.validation.rows)
    one.fit(quiet)
    assert facts(one)["faces"] == {"Training": 50, "PublicTest": 14}
    assert facts(one)["config"]["data"]["holdout"] == 0.25
    assert list(facts(one)["inputs_sha256"]) == ["held-out rows"]
    with pytest.raises(SettingsError, match="the data has a split PublicTest"):
        start(tables={"data": {"holdout": 0.25}})


def test_the_training_split_is_balanced(start: Start) -> None:
    assert np.bincount(start(balance="oversample").training.labels).tolist() == [10] * 7


def test_the_teachers_are_asked_about_the_faces_trained_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def answer(names: Any, images: Any, device: Any) -> Any:
        asked.append((tuple(names), len(images), device.name))
        return teachers.Taught(np.full((len(images), 7), 1 / 7, np.float32), ("a" * 64, None))

    monkeypatch.setattr(teachers, "teacher_probabilities", answer)
    one = start(teacher=["a", "b.safetensors"], teacher_weight=1.0, epochs=4)
    one.fit(quiet)
    assert asked == [(("a", "b.safetensors"), 64, "cpu")]
    assert facts(one)["inputs_sha256"] == {"teacher 1": "a" * 64}
    assert one.state.best_accuracy < 0.9  # nothing to be learnt from a teacher who does not know
    assert float(log(one)[-1]["public_loss"]) > 1.5
