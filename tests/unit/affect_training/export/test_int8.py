import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from affect_training.export import int8
from affect_training.export.int8 import calibration_rows, floats_a_face, quantise
from affect_training.export.onnx import faces_of, open_session, run_session
from support.tiny import Exported, tiny_split


def test_the_int8_twin_is_measured_next_to_the_original(exported: Exported, tmp_path: Path) -> None:
    spec, original, validation = exported.sidecar.input, exported.report.path, exported.run.validation
    report = quantise(original, tmp_path / "tiny.int8.onnx", spec, exported.run.training, validation)
    session = open_session(report.quantised.path)
    logits = {name: run_session(s, faces_of(validation.images, spec)) for name, s in
              (("original", open_session(original)), ("quantised", session))}  # fmt: skip
    for name, found in (("original", report.original), ("quantised", report.quantised)):
        assert found.accuracy == pytest.approx((logits[name].argmax(1) == validation.labels).mean())
        assert found.ci95[0] <= found.accuracy <= found.ci95[1]
        assert found.n == 21
    assert not np.array_equal(logits["original"], logits["quantised"])
    span = np.ptp(logits["original"])
    assert np.abs(logits["original"] - logits["quantised"]).max() < 0.1 * span
    same = (logits["original"].argmax(1) == logits["quantised"].argmax(1)).mean()
    assert report.agreement == pytest.approx(same)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["affect.accuracy"])["int8"] == report.quantised.accuracy
    assert json.loads(facts["affect.temperature"]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.int8.onnx"]


def test_what_cannot_be_scored_leaves_no_file(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(int8, "score", fail)
    spec, run = exported.sidecar.input, exported.run
    with pytest.raises(RuntimeError, match="no such kernel"):
        quantise(exported.report.path, tmp_path / "a.onnx", spec, run.training, run.validation)
    assert not list(tmp_path.iterdir())


def test_calibration_takes_as_many_of_each_emotion_as_there_are() -> None:
    split = tiny_split(70, 0)
    rows = calibration_rows(split.take(np.flatnonzero((split.labels != 1) | (np.arange(70) < 14))), 35)
    kept = split.take(np.flatnonzero((split.labels != 1) | (np.arange(70) < 14))).labels[rows]
    assert np.bincount(kept, minlength=7).tolist() == [5, 2, 5, 5, 5, 5, 5]
    assert len(set(rows.tolist())) == len(rows)


def test_as_many_faces_calibrate_as_memory_holds(exported: Exported, tmp_path: Path) -> None:
    spec, original, validation = exported.sidecar.input, exported.report.path, exported.run.validation
    odd = tiny_split(75, 0)  # no number of even batches
    report = quantise(original, tmp_path / "a.onnx", spec, odd, validation)
    assert report.calibrated_on == 75
    per_face = 4 * floats_a_face(onnx.shape_inference.infer_shapes(onnx.load(str(original))))
    assert per_face > 4 * 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "CALIBRATION_BYTES", 8 * per_face)
        assert 7 < quantise(original, tmp_path / "b.onnx", spec, odd, validation).calibrated_on < 75
        patch.setattr(int8, "CALIBRATION_BYTES", 1)
        assert quantise(original, tmp_path / "c.onnx", spec, odd, validation).calibrated_on == 7
