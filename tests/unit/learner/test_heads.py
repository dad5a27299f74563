from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.errors import CheckpointError
from affect.labels import EMOTIONS, Emotion, LearnerState
from affect.learner.evidence import FaceEvidence
from affect.learner.heads import READINGS, StateHeads, load_heads, pack_heads, readings
from affect.settings.fit import HeadsFile
from affect.types import FloatArray, HeadPose

ROW: FloatArray = np.array([0.1, 0.0, 0.1, 0.1, 0.4, 0.1, 0.2], np.float32)
FACE = FaceEvidence(ROW, HeadPose(-12.0, 3.0, -4.0), 1.0, np.array([1.0, 2.0], np.float32), 0.2)
K = len(READINGS)


def made(embedding: int = 2) -> StateHeads:
    rng = np.random.default_rng(0)
    return StateHeads(
        states=(LearnerState.BOREDOM, LearnerState.CONFUSION),
        embedding=rng.normal(size=(2, embedding)),
        readings=rng.normal(size=(2, K)),
        mean=rng.normal(size=K),
        std=np.full(K, 2.0),
        bias=np.array([0.5, -0.5]),
        slope=np.array([2.0, 0.0]),
        intercept=np.array([-1.0, -2.0]),
        rate=np.array([0.25, 1 / (1 + np.exp(2.0))]),
    )


def test_readings_are_log_probabilities_pose_and_eyes() -> None:
    found = dict(zip(READINGS, readings(FACE), strict=True))
    for k, emotion in enumerate(EMOTIONS):
        assert found[f"log_{emotion.value}"] == pytest.approx(np.log(max(float(ROW[k]), 1e-4)), rel=1e-5)
    assert found["log_disgust"] == pytest.approx(np.log(1e-4))
    assert (found["yaw"], found["abs_yaw"], found["pitch"], found["abs_roll"]) == (-12.0, 12.0, 3.0, 4.0)
    assert found["log_eye_opening"] == pytest.approx(np.log(0.2))


def test_what_a_face_does_not_give_is_missing_and_counts_as_the_mean() -> None:
    bare = FaceEvidence(ROW, None, 1.0, FACE.embedding)
    row = readings(bare)
    assert np.isnan(row[7:]).all()
    assert np.isfinite(row[:7]).all()
    heads = made()
    at_mean = np.where(np.isnan(row), heads.mean, row)
    np.testing.assert_allclose(heads.scores_of(bare), heads.scores(np.array([1.0, 2.0]), at_mean))


def test_a_score_is_linear_in_embedding_and_standard_readings() -> None:
    heads = made()
    standard = (readings(FACE) - heads.mean) / 2.0
    expected = heads.embedding @ [1.0, 2.0] + heads.readings @ standard + heads.bias
    np.testing.assert_allclose(heads.scores_of(FACE), expected)
    many = heads.scores(np.tile([1.0, 2.0], (3, 1)), np.tile(readings(FACE), (3, 1)))
    np.testing.assert_allclose(many, np.tile(expected, (3, 1)))


def test_probabilities_follow_the_curve_and_ratios_the_rate() -> None:
    heads = made()
    scores = np.array([0.5, 7.0])
    np.testing.assert_allclose(heads.probabilities(scores), [0.5, 1 / (1 + np.exp(2.0))])
    # A head as flat as its rate says nothing, whatever the score.
    np.testing.assert_allclose(heads.log_ratios(scores), [np.log(2.0), 0.0], atol=1e-12)


def test_heads_read_only_the_embedding_they_know() -> None:
    assert made().can_read(FACE)
    assert not made().can_read(replace(FACE, embedding=None))
    assert not made().can_read(replace(FACE, embedding=np.zeros(3, np.float32)))
    without = made(0)
    assert without.can_read(replace(FACE, embedding=None))
    np.testing.assert_allclose(without.scores_of(FACE), without.scores_of(replace(FACE, embedding=None)))


def saved(folder: Path, heads: StateHeads) -> HeadsFile:
    content, facts = pack_heads("x.safetensors", heads)
    (folder / facts.file).write_bytes(content)
    return facts


def test_heads_come_back_as_they_were_written(tmp_path: Path) -> None:
    facts = saved(tmp_path, made())
    assert facts.file == "x.safetensors"
    assert facts.embedding == 2
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    again = load_heads(tmp_path, facts)
    np.testing.assert_allclose(again.scores_of(FACE), made().scores_of(FACE), rtol=1e-5)
    assert again.states == made().states


def test_other_files_are_refused(tmp_path: Path) -> None:
    facts = saved(tmp_path, made())
    with pytest.raises(CheckpointError, match="no such heads"):
        load_heads(tmp_path / "nowhere", facts)
    with pytest.raises(CheckpointError, match="sha256"):
        load_heads(tmp_path, facts.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="fit again"):
        load_heads(tmp_path, facts.model_copy(update={"readings": ("yaw",)}))
    with pytest.raises(CheckpointError, match=r"embedding should be \[2, 5\], is \[2, 2\]"):
        load_heads(tmp_path, facts.model_copy(update={"embedding": 5}))
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="pickles are never loaded"):
        load_heads(tmp_path, facts)


def test_heads_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    facts = saved(tmp_path, replace(made(), slope=np.array([np.nan, 1.0])))
    with pytest.raises(CheckpointError, match="slope is not finite"):
        load_heads(tmp_path, facts)


def test_an_embedding_is_not_shown_in_words() -> None:
    assert "embedding" not in repr(FACE)
    assert Emotion.SAD in EMOTIONS
