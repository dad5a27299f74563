"""Simulated learners keep the laws they are drawn from; the rivals read them as described."""

import numpy as np
import pytest

from affect.labels import EMOTIONS, STATES, LearnerState
from affect.learner.rivals import ema_threshold, majority_vote, raw_argmax
from affect.learner.simulate import CASES, Case, Dialogue, FacePool, Simulation, simulate, talk
from affect.settings.learner import HmmSettings

SETTINGS = HmmSettings()
# A perfect classifier: every picture is read as what it is.
POOL = FacePool(np.eye(7)[np.arange(70) % 7] * 0.98 + 0.02 / 7, np.arange(70) % 7)


def run(case: Case = CASES[0], seconds: float = 4000, seed: int = 0) -> Simulation:
    return simulate(SETTINGS, case, POOL, seconds=seconds, fps=2, rng=np.random.default_rng(seed))


def test_long_run_shares_are_the_base_rates() -> None:
    shares = np.bincount(np.concatenate([run(seed=k).states for k in range(6)]), minlength=7)
    shares = shares / shares.sum()
    for k, state in enumerate(STATES):
        assert shares[k] == pytest.approx(SETTINGS.base_rates[state], abs=0.06)


def test_half_lives_scale_the_switches() -> None:
    switches = {scale: np.count_nonzero(np.diff(run(Case("x", half_life_scale=scale)).states)) for scale in (0.5, 1, 2)}
    assert switches[0.5] > 1.5 * switches[1] > 2 * switches[2]


def test_missing_share() -> None:
    gone = np.isnan(run(Case("x", missing=0.3)).faces[:, 0]).mean()
    assert gone == pytest.approx(0.3, abs=0.05)


def test_the_same_seed_gives_the_same_session() -> None:
    a, b = run(seconds=60, seed=3), run(seconds=60, seed=3)
    assert np.array_equal(a.states, b.states)
    assert np.array_equal(a.faces, b.faces)


def test_an_emission_of_the_case_replaces_the_model_s() -> None:
    smiling = Case("x", emission=dict.fromkeys(STATES, (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)))
    assert (run(smiling, seconds=100).faces.argmax(1) == EMOTIONS.index("happy")).all()


def test_turns_come_as_often_as_said_and_only_they_tell() -> None:
    simulation = run(seconds=4000)
    assert np.diff(simulation.turns).mean() == pytest.approx(20, rel=0.2)
    assert {t for t, _ in simulation.host} <= set(simulation.turns)
    assert {kind for _, kind in simulation.host} <= set(SETTINGS.host_evidence)
    assert sorted(simulation.host, key=lambda told: told[0]) == list(simulation.host)


def told(state: LearnerState, telling: float = 1.0) -> dict[str, int]:
    """How often each kind is told in 4,000 turns or so of one state."""
    t = np.arange(0.0, 40_000.0)
    states = np.full(len(t), STATES.index(state), np.int64)
    rng = np.random.default_rng(0)
    _, host = talk(SETTINGS, t, states, Dialogue(turn_s=10), rng, telling=telling)
    return {kind: sum(kind == k for _, k in host) for kind in SETTINGS.host_evidence}


def test_states_tell_by_their_likelihoods() -> None:
    bored, engaged = told(LearnerState.BOREDOM), told(LearnerState.ENGAGEMENT)
    assert bored["off_task"] / engaged["off_task"] == pytest.approx(3 / 0.3, rel=0.4)
    assert bored["fast_guess"] / engaged["fast_guess"] == pytest.approx(2 / 0.5, rel=0.3)
    # An answer is right or wrong, never both.
    right = engaged["answer_correct"] / (engaged["answer_correct"] + engaged["answer_wrong"])
    assert right == pytest.approx(1.3 / (1.3 + 0.9), abs=0.03)


def test_dialogue_that_tells_nothing_is_the_same_in_all_states() -> None:
    bored, engaged = told(LearnerState.BOREDOM, 0.0), told(LearnerState.ENGAGEMENT, 0.0)
    assert bored == engaged


def test_what_is_said_changes_no_face() -> None:
    quiet = simulate(
        SETTINGS,
        CASES[0],
        POOL,
        seconds=60,
        fps=2,
        rng=np.random.default_rng(0),
        dialogue=Dialogue(turn_s=1e9),
    )
    assert not quiet.host
    assert not quiet.turns
    np.testing.assert_array_equal(quiet.faces, run(seconds=60).faces)


def faces(*names: str) -> Simulation:
    rows = np.array([np.full(7, np.nan) if n == "-" else np.eye(7)[EMOTIONS.index(n)] * 0.9 + 0.1 / 7 for n in names])
    return Simulation(np.arange(len(names), dtype=float), np.zeros(len(names), np.int64), rows)


def test_raw_argmax_maps_each_frame_and_holds_over_gaps() -> None:
    labels, p = raw_argmax(faces("happy", "-", "angry", "sad", "neutral"), SETTINGS)
    assert [STATES[k].value for k in labels] == ["delight", "delight", "frustration", "boredom", "neutral"]
    assert p.sum(1) == pytest.approx(1)


def test_ema_ignores_one_odd_frame() -> None:
    labels, _ = ema_threshold(faces(*["neutral"] * 8, "happy", *["neutral"] * 3), SETTINGS)
    assert {STATES[k].value for k in labels} == {"neutral"}


def test_majority_follows_the_last_seconds() -> None:
    labels, _ = majority_vote(faces(*["happy"] * 6, *["sad"] * 6), SETTINGS)
    assert STATES[labels[5]] == "delight"
    assert STATES[labels[-1]] == "boredom"
