from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from affect.settings.sinks import JsonlSettings
from affect.settings.vision import HaarSettings, MtcnnSettings, VisionSettings, YunetSettings


def test_the_thresholds_of_mtcnn_are_those_of_the_published_code() -> None:
    assert MtcnnSettings().thresholds == (0.6, 0.7, 0.7)


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (VisionSettings, {"max_pixels": 1023}),
        (VisionSettings, {"min_side": 11}),
        (VisionSettings, {"max_side": 63}),
        (VisionSettings, {"lost_s": -0.1}),
        (MtcnnSettings, {"min_face": 0}),
        (MtcnnSettings, {"min_face_px": 11}),
        (MtcnnSettings, {"thresholds": (0.6, 0.7)}),
        (MtcnnSettings, {"thresholds": (60, 70, 70)}),
        (MtcnnSettings, {"second_thresholds": (0.3, 0.3, -0.8)}),
        (MtcnnSettings, {"track_threshold": 7}),
        (VisionSettings, {"redetect_s": float("inf")}),
        (HaarSettings, {"scale_factor": 1}),
        (YunetSettings, {"threshold": -0.1}),
        (VisionSettings, {"colour": True}),
        (JsonlSettings, {"directory": "x"}),
    ],
)
def test_values_out_of_range_are_refused(model: type[BaseModel], table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(table))):
        model.model_validate(table)


def test_paths_may_be_given_as_text() -> None:
    assert YunetSettings.model_validate({"model": "/a/b.onnx"}).model == Path("/a/b.onnx")
    assert JsonlSettings.model_validate({"folder": "events"}).folder == Path("events")
