"""Settings do what they say, at other values than the defaults: a number written into the code would not."""

import numpy as np
import pytest
import torch

from affect.inference.device import Device
from affect.labels import EMOTIONS, STATES, Emotion, Evidence, LearnerState, OffsetReason, Presence
from affect.learner.circumplex import Circumplex, OneEuro
from affect.learner.dynamics import Dynamics, rate_matrix, stationary
from affect.learner.estimator import HmmEstimator
from affect.learner.events import EventPolicy
from affect.learner.evidence import FaceEvidence
from affect.learner.model import LearnerModel
from affect.pipeline import Pipeline, build_engine, decode_threads, with_offline_search
from affect.settings import LearnerSettings, Settings, VisionSettings
from affect.settings.learner import CircumplexSettings, EventSettings, HmmSettings
from affect.settings.vision import HaarSettings, MtcnnSettings
from affect.testing import FakeBackend, FakeDetector
from affect.types import ByteArray, Detection, Estimate, Face, FrameFaces, HeadPose
from affect.vision.haar import Haar
from affect.vision.mtcnn import Mtcnn
from affect.vision.tracking import Tracker

S = LearnerState
FACE = Detection(np.array([100, 100, 200, 200], np.float32), None, 1.0)
OTHER = Detection(np.array([400, 100, 480, 180], np.float32), None, 1.0)


# Vision


def test_intervals_of_tracking() -> None:
    tracker = Tracker(VisionSettings(redetect_s=4.5, search_s=0.8, lost_s=2.2, switch_s=6.0))
    tracker.frame_size(640, 480)
    tracker.detected(0.0, [FACE, OTHER])
    assert [tracker.due(t) for t in (4.4, 4.5)] == [False, True]
    tracker.refined(4.9, [FACE, OTHER])
    tracker.refined(5.0, [None, OTHER])
    tracker.detected(5.0, [OTHER])
    assert [tracker.due(t) for t in (5.7, 7.1)] == [True, True]  # just lost: every frame, for lost_s
    tracker.detected(7.1, [OTHER])
    assert [tracker.due(t) for t in (7.8, 8.0)] == [False, True]  # then every search_s
    tracker.detected(10.8, [OTHER])
    assert tracker.followed == 1
    tracker.detected(11.0, [OTHER])
    assert tracker.followed == 2


def test_mtcnn_finds_nobody_where_thresholds_forbid_it(astronaut: ByteArray) -> None:
    strict = MtcnnSettings(thresholds=(0.6, 0.7, 1.0), second_thresholds=(0.9, 1.0, 1.0))
    assert Mtcnn(strict, torch.device("cpu")).detect([astronaut]) == [[]]


def test_haar_finds_nobody_where_so_many_neighbours_are_asked_for(astronaut: ByteArray) -> None:
    assert Haar(HaarSettings(min_neighbors=500)).detect([astronaut]) == [[]]


def test_what_the_engine_is_built_with() -> None:
    settings = Settings.model_validate({"inference": {"max_batch": 7, "decode_threads": 3}})
    engine = build_engine(Pipeline(FakeDetector(), FakeBackend(), Device("cpu", "float32"), settings.vision), settings)
    try:
        assert (engine._max_batch, engine._pool._max_workers, decode_threads(settings)) == (7, 3, 3)
    finally:
        engine.close()
    assert decode_threads(Settings()) >= 1


def test_files_are_searched_in_every_frame() -> None:
    settings = Settings.model_validate({"vision": {"redetect_s": 2.5}})
    offline = with_offline_search(settings)
    assert (offline.vision.search_s, offline.vision.redetect_s) == (0.0, 2.5)
    assert offline.learner == settings.learner


def test_files_are_searched_as_often_as_somebody_said() -> None:
    for search_s in (0.7, VisionSettings().search_s):
        settings = Settings.model_validate({"vision": {"search_s": search_s}})
        assert with_offline_search(settings).vision.search_s == search_s


# Evidence


def face(emotion: Emotion, share: float = 0.9) -> FaceEvidence:
    row = np.full(7, (1 - share) / 6, np.float32)
    row[EMOTIONS.index(emotion)] = share
    return FaceEvidence(row, None, 1.0)


def test_host_evidence_counts_again_after_tau_host_s() -> None:
    settings = HmmSettings(tau_host_s=4.0)
    estimator = HmmEstimator(settings)
    row = np.array([settings.host_evidence["off_task"][s] for s in STATES])
    first = estimator.host(0.0, "off_task").astype(np.float64)
    passed = first @ Dynamics(rate_matrix(settings), stationary(settings)).transition(1.0)
    expected = passed * row**0.25
    np.testing.assert_allclose(estimator.host(1.0, "off_task"), expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("factor", [3.0, 20.0])
def test_a_correction_counts_by_its_factor(factor: float) -> None:
    settings = HmmSettings(correction_factor=factor, correction_least=0.0)
    odds = (p := float(HmmEstimator(settings).correct(0.0, S.BOREDOM)[STATES.index(S.BOREDOM)])) / (1 - p)
    assert odds == pytest.approx(factor * 0.14 / 0.86, rel=1e-4)


@pytest.mark.parametrize("least", [0.5, 0.9])
def test_a_correction_leaves_no_less_than_it_says(least: float) -> None:
    found = HmmEstimator(HmmSettings(correction_factor=1.0, correction_least=least)).correct(0.0, S.SURPRISE)
    assert found[STATES.index(S.SURPRISE)] == pytest.approx(least)


def test_rare_classes_are_not_taken_for_rarer_than_min_share() -> None:
    few, many = (HmmEstimator(HmmSettings(min_share=share)) for share in (0.0, 0.14))
    disgusted = face(Emotion.DISGUST)
    frustration = STATES.index(S.FRUSTRATION)
    assert few.observe(0.0, disgusted)[frustration] > 1.1 * many.observe(0.0, disgusted)[frustration]


def test_valence_is_smoothed_as_set() -> None:
    given = CircumplexSettings(min_cutoff_hz=0.8, beta=0.4, derivative_cutoff_hz=2.0)
    circumplex, alone = Circumplex(given), OneEuro(0.8, 0.4, 2.0)
    for k, emotion in enumerate((Emotion.HAPPY, Emotion.SAD, Emotion.HAPPY, Emotion.NEUTRAL)):
        seen = face(emotion).probabilities
        circumplex.observe(k / 3, seen)
        expected = alone(k / 3, float(circumplex.of(seen)[0]))
    assert circumplex.valence == pytest.approx(expected)
    usual = OneEuro(0.3, 0.05)
    assert usual(0.0, 0.0) == 0.0
    assert usual(0.3, 1.0) != pytest.approx(OneEuro(0.8, 0.4, 2.0)(0.3, 1.0))


# Events


def frame(t: float, *, yaw: float = 0.0) -> FrameFaces:
    seen = Face(1, FACE.box, None, 1.0, HeadPose(yaw, 0.0, 0.0), 1.0, face(Emotion.HAPPY, 0.95).probabilities)
    return FrameFaces(t, 0, 640, 480, (seen,), 1)


@pytest.mark.parametrize("hold_s", [1.0, 2.5])
def test_without_evidence_nothing_is_told_for_hold_s(hold_s: float) -> None:
    events = EventSettings(update_s=0.0)  # an open state is told of at every step
    model = LearnerModel(LearnerSettings(hold_s=hold_s, events=events), HmmEstimator(HmmSettings()))
    for k in range(100):
        model.observe(frame(k / 10))
    assert S.DELIGHT in model.policy.open_states
    told = [event.t for k in range(100, 140) for event in model.observe(frame(k / 10, yaw=60.0)).events]
    assert told[0] == pytest.approx(9.9 + hold_s, abs=0.11)


def test_updates_and_the_budget_are_as_set() -> None:
    def belief(t: float, **shares: float) -> Estimate:
        rest = (1 - sum(shares.values())) / (7 - len(shares))
        states = np.array([shares.get(s.value, rest) for s in STATES], np.float32)
        return Estimate(t, states, None, None, Presence.PRESENT, Evidence.FACE)

    zero = {s.value: {"dwell_s": 0, "cooldown_s": 0} for s in STATES if s is not S.NEUTRAL}
    table = {"timing": zero, "update_s": 7.0, "update_change": 0.3, "actionable": ["delight"], "budget_per_minute": 1}
    policy = EventPolicy(EventSettings.model_validate(table))
    assert [e.phase for e in policy.step(belief(0.0, delight=0.9))] == ["onset"]
    assert policy.step(belief(2.0, delight=0.65)) == []  # by .25
    assert [e.phase for e in policy.step(belief(4.0, delight=0.55))] == ["update"]  # by .35
    assert [e.phase for t in (8.0, 10.9, 11.0) for e in policy.step(belief(t, delight=0.55))] == ["update"]
    policy.close(12.0, OffsetReason.FACE_LOST)
    assert policy.step(belief(13.0, delight=0.9)) == []
    assert policy.suppressed == 1
    assert [e.kind for e in policy.step(belief(14.0, confusion=0.9))] == ["confusion"]  # has no budget now
