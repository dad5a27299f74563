"""What the core itself registers, through the same door as everybody: detectors, estimators, the JSONL sink."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel

from affect.hookspecs import hookimpl
from affect.registry import Context, DetectorSpec, EstimatorSpec, Sink, SinkSpec
from affect.settings.learner import FittedSettings, HmmSettings
from affect.settings.sinks import JsonlSettings
from affect.settings.vision import HaarSettings, MtcnnSettings, YunetSettings

if TYPE_CHECKING:
    from affect.learner.estimator import Estimator
    from affect.vision.detector import Detector


@hookimpl
def register_detectors(register: Callable[[DetectorSpec], None]) -> None:
    """Register mtcnn, haar and yunet."""
    register(DetectorSpec("mtcnn", _mtcnn, "MTCNN cascade on the device, landmarks (default)", MtcnnSettings))
    register(DetectorSpec("haar", _haar, "OpenCV's Viola-Jones cascade, no landmarks", HaarSettings))
    register(DetectorSpec("yunet", _yunet, "OpenCV's YuNet from plugins.yunet.model, landmarks", YunetSettings))


@hookimpl
def register_estimators(register: Callable[[EstimatorSpec], None]) -> None:
    """Register hmm and fitted."""
    register(EstimatorSpec("hmm", _hmm, "Forward filter of a continuous-time hidden Markov model", HmmSettings))
    register(
        EstimatorSpec(
            "fitted",
            _fitted,
            "The filter of hmm with the backend's fitted heads (default)",
            FittedSettings,
            extends="hmm",
            reads_faces=True,
        )
    )


@hookimpl
def register_sinks(register: Callable[[SinkSpec], None]) -> None:
    """Register jsonl."""
    register(SinkSpec("jsonl", _jsonl, "One CloudEvents object a line, a file a session", JsonlSettings))


def _mtcnn(ctx: Context) -> "Detector":
    from affect.vision.mtcnn import Mtcnn

    assert isinstance(ctx.settings, MtcnnSettings)
    return Mtcnn(ctx.settings, ctx.device.torch, ctx.device.autocast)


def _haar(ctx: Context) -> "Detector":
    from affect.vision.haar import Haar

    assert isinstance(ctx.settings, HaarSettings)
    return Haar(ctx.settings)


def _yunet(ctx: Context) -> "Detector":
    from affect.vision.yunet import Yunet

    assert isinstance(ctx.settings, YunetSettings)
    return Yunet(ctx.settings)


def _hmm(settings: BaseModel) -> "Estimator":
    from affect.learner.estimator import HmmEstimator

    assert isinstance(settings, HmmSettings)
    return HmmEstimator(settings)


def _fitted(settings: BaseModel) -> "Estimator":
    from affect.learner.fitted import FittedEstimator

    assert isinstance(settings, FittedSettings)
    return FittedEstimator(settings)


def _jsonl(settings: BaseModel) -> Sink:
    from affect.sinks import JsonlSink

    assert isinstance(settings, JsonlSettings)
    return JsonlSink(settings)
