"""The pipeline gives faces their embedding and eyes when somebody reads them, and only then."""

import json
from dataclasses import replace

import cv2
import numpy as np
import torch

from affect.inference.device import Device
from affect.labels import Evidence, Presence
from affect.pipeline import FrameJob, Pipeline
from affect.rows import observation_line
from affect.service.messages import observation_message
from affect.settings import Settings
from affect.testing import FakeBackend, FakeDetector
from affect.types import ByteArray, Estimate, Face, Frame, FrameFaces, Observation
from affect.vision.tracking import Tracker


class Embeds(FakeBackend):
    """Embeds a face as three times its mean grey."""

    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer both."""
        return self.predict(faces), faces.mean(dim=(1, 2, 3))[:, None].repeat(1, 3)


def picture() -> ByteArray:
    """A frame whose middle half is a face with two dark eyes, where the fake detector sees landmarks."""
    image = np.full((240, 320, 3), 200, np.uint8)
    for x, y in ((0.3104, 0.3868), (0.6896, 0.3868)):
        cv2.ellipse(image, (int(80 + 160 * x), int(60 + 120 * y)), (9, 6), 0, 0, 360, (40, 40, 40), -1)
    return image


def seen(*, details: bool, backend: FakeBackend) -> Face:
    settings = Settings()
    pipeline = Pipeline(FakeDetector(), backend, Device("cpu", "float32"), settings.vision, details=details)
    (found,) = pipeline.process([pipeline.prepare(FrameJob(Frame(0.0, 0, picture()), Tracker(settings.vision)))])
    assert isinstance(found, FrameFaces)
    assert found.learner is not None
    return found.learner


def test_details_are_given_when_wanted() -> None:
    face = seen(details=True, backend=Embeds())
    assert face.embedding is not None
    assert face.embedding.shape == (3,)
    assert face.eye_opening is not None
    assert 0.02 < face.eye_opening < 0.3


def test_details_cost_nothing_otherwise() -> None:
    face = seen(details=False, backend=Embeds())
    assert face.embedding is None
    assert face.eye_opening is None


def test_a_backend_without_embeddings_gives_the_eyes_only() -> None:
    face = seen(details=True, backend=FakeBackend())
    assert face.embedding is None
    assert face.eye_opening is not None
    assert face.probabilities is not None


def test_what_identifies_a_person_is_never_sent_written_or_shown() -> None:
    face = seen(details=True, backend=Embeds())
    bare = replace(face, embedding=None, eye_opening=None)
    texts = []
    for one in (face, bare):
        frame = FrameFaces(1.0, 1, 320, 240, (one,), one.track_id)
        estimate = Estimate(1.0, np.full(7, 1 / 7, np.float32), None, None, Presence.PRESENT, Evidence.FACE)
        observation = Observation(frame, estimate)
        texts.append(
            (observation_message(observation, 0.01).model_dump_json(), json.dumps(observation_line(observation, 1)))
        )
    assert texts[0] == texts[1]
    assert "embedding" not in repr(face)
