"""The same pipeline on CUDA gives the CPU's answers; skipped without a GPU."""

import numpy as np
import pytest
import torch

from affect.inference.device import Device
from affect.pipeline import FrameJob, build_engine, build_pipeline
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.testing import check_registered
from affect.types import ByteArray, Frame, FrameFaces
from affect.vision.crop import crop_faces, from_box
from affect.vision.tracking import Tracker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", PluginHost().backends.names())
def test_backend_contract_on_the_gpu(name: str) -> None:
    check_registered(name, device="cuda:0")


def test_auto_takes_the_gpu() -> None:
    assert Device("auto").name == "cuda:0"


def test_crops_are_the_cpu_s(astronaut: ByteArray) -> None:
    box = from_box(np.array([130, 50, 230, 180], np.float32))
    crops = [
        crop_faces([astronaut], [box], size=48, channels=1, device=torch.device(name)).cpu() for name in ("cpu", "cuda")
    ]
    assert torch.allclose(crops[0], crops[1], atol=2e-3)


def test_whole_pipeline_on_the_gpu(astronaut_jpeg: bytes) -> None:
    found: dict[str, FrameFaces] = {}
    for device in ("cpu", "cuda:0"):
        settings = Settings.model_validate({"inference": {"device": device, "precision": "float32"}})
        engine = build_engine(build_pipeline(settings, PluginHost()), settings)
        found[device] = engine.submit(FrameJob(Frame(0.0, 0, astronaut_jpeg), Tracker(settings.vision))).result()
        engine.close()
    ours, theirs = found["cpu"].learner, found["cuda:0"].learner
    assert ours is not None
    assert theirs is not None
    assert ours.box == pytest.approx(theirs.box, abs=1)
    assert ours.probabilities == pytest.approx(theirs.probabilities, abs=0.02)
