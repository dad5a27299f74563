import numpy as np
import pytest
from scipy.linalg import expm

from affect.errors import SettingsError
from affect.labels import STATES, LearnerState
from affect.learner.dynamics import Dynamics, rate_matrix, stationary
from affect.settings.learner import HmmSettings

SETTINGS = HmmSettings()
Q = rate_matrix(SETTINGS)
PI = stationary(SETTINGS)
OTHER = HmmSettings.model_validate(
    {
        "base_rates": dict(zip(STATES, (0.5, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05), strict=True)),
        "half_lives_s": dict(zip(STATES, (5, 60, 3, 90, 10, 2, 1), strict=True)),
        "affinities": {"neutral-boredom": 5, "delight-surprise": 0.1},
    }
)


def test_base_rates_are_normalised_in_the_order_of_the_states() -> None:
    np.testing.assert_allclose(PI, [0.29, 0.24, 0.17, 0.09, 0.14, 0.04, 0.03])
    assert stationary(OTHER).sum() == pytest.approx(1)


def test_the_diagonal_of_one_second_is_that_of_the_design() -> None:
    stay = np.diag(Dynamics(Q, PI).transition(1.0))
    assert np.round(stay, 3).tolist() == [0.966, 0.977, 0.966, 0.955, 0.985, 0.871, 0.841]


@pytest.mark.parametrize("settings", [SETTINGS, OTHER], ids=["default", "other"])
def test_the_generator_has_the_wanted_half_lives(settings: HmmSettings) -> None:
    q = rate_matrix(settings)
    np.testing.assert_allclose(q.sum(axis=1), 0, atol=1e-12)
    half_lives = np.log(2) / -np.diag(q)
    np.testing.assert_allclose(half_lives, [settings.half_lives_s[s] for s in STATES], rtol=1e-6)
    assert (q[~np.eye(7, dtype=bool)] > 0).all()


@pytest.mark.parametrize("settings", [SETTINGS, OTHER], ids=["default", "other"])
def test_the_chain_is_reversible_and_its_base_rates_stay(settings: HmmSettings) -> None:
    q, pi = rate_matrix(settings), stationary(settings)
    flux = pi[:, None] * q
    np.testing.assert_allclose(flux, flux.T, atol=1e-12)  # detailed balance
    np.testing.assert_allclose(pi @ q, 0, atol=1e-12)
    np.testing.assert_allclose(pi @ Dynamics(q, pi).transition(7.3), pi, rtol=1e-9)


def test_likelier_pairs_follow_each_other_more_often() -> None:
    # Flux over the product of the scale factors is the affinity; cross ratios cancel the factors.
    flux = PI[:, None] * Q

    def ratio(a: str, b: str, c: str, d: str) -> float:
        i, j, k, m = (list(STATES).index(s) for s in (a, b, c, d))  # type: ignore[arg-type]
        return float(flux[i, j] * flux[k, m] / (flux[i, m] * flux[k, j]))

    # (engagement-confusion 3)(neutral-boredom 1) / ((engagement-boredom .4)(neutral-confusion 1))
    assert ratio("engagement", "confusion", "neutral", "boredom") == pytest.approx(7.5)
    assert ratio("confusion", "frustration", "neutral", "delight") == pytest.approx(3 / 1.2)


@pytest.mark.parametrize("settings", [SETTINGS, OTHER], ids=["default", "other"])
@pytest.mark.parametrize("dt", [0.0, 1 / 30, 0.2, 1.0, 17.0, 600.0])
def test_transitions_equal_the_matrix_exponential(settings: HmmSettings, dt: float) -> None:
    q, pi = rate_matrix(settings), stationary(settings)
    np.testing.assert_allclose(Dynamics(q, pi).transition(dt), expm(q * dt), atol=1e-10)


def test_steps_add_up() -> None:
    dynamics = Dynamics(Q, PI)
    half = dynamics.transition(1.5)
    np.testing.assert_allclose(half @ half, dynamics.transition(3.0), atol=1e-12)


def test_time_that_runs_back_changes_nothing() -> None:
    np.testing.assert_allclose(Dynamics(Q, PI).transition(-1.0), np.eye(7), atol=1e-12)


def test_in_the_long_run_only_the_base_rates_are_left() -> None:
    np.testing.assert_allclose(Dynamics(Q, PI).transition(1e5), np.tile(PI, (7, 1)), atol=1e-9)


def test_rows_are_distributions() -> None:
    p = Dynamics(Q, PI).transition(0.01)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def test_base_rates_and_half_lives_that_cannot_hold_together_are_refused() -> None:
    rates = dict(HmmSettings().base_rates) | {LearnerState.NEUTRAL: 4.0}
    with pytest.raises(SettingsError, match=r"cannot hold together .*raise half_lives_s\.neutral"):
        rate_matrix(HmmSettings(base_rates=rates))
