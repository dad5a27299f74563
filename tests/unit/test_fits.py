"""The fit of a backend is found where it lies, handed to estimators that want it, and refused when it is another's."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict

from affect.errors import CheckpointError, SettingsError
from affect.fits import backend_fit, new_estimator, reads_faces
from affect.hookspecs import hookimpl
from affect.inference.checkpoint import InputSpec, load_sidecar, save_checkpoint, sidecar_path
from affect.labels import STATES
from affect.learner.fitted import FittedEstimator
from affect.learner.heads import READINGS, StateHeads, pack_heads
from affect.plugins import PluginHost
from affect.registry import BackendSpec
from affect.session import new_session
from affect.settings import Settings
from affect.settings.fit import LearnerFit
from affect.settings.learner import HmmSettings
from affect.testing import FakeBackend
from affect.types import Face, FrameFaces
from affect.vision.geometry import FER2013_CROP

MakeHost = Callable[..., PluginHost]
FLAT = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4)


class WeightsSettings(BaseModel):
    """Settings of the backend of these tests."""

    model_config = ConfigDict(extra="forbid")

    weights: Path = Path("none.safetensors")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    spec = InputSpec(size=48, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP)
    save_checkpoint(path, {"x": torch.zeros(1)}, architecture="a:B", parameters=1, input=spec, temperature=1.0)
    return path


@pytest.fixture
def host(make_host: MakeHost, weights: Path) -> PluginHost:
    class Plugin:
        @hookimpl
        def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
            register(BackendSpec("mine", lambda _: FakeBackend(), "with weights", weights=weights))
            register(BackendSpec("vote", lambda _: FakeBackend(), "without"))
            register(BackendSpec("other", lambda _: FakeBackend(), "set", WeightsSettings, Path("shipped.safetensors")))

    made = make_host({"other": {"weights": str(weights)}})
    made.register(Plugin(), "weighty")
    return made


def heads() -> StateHeads:
    k = len(READINGS)
    return StateHeads(
        (STATES[4],), np.ones((1, 2)), np.zeros((1, k)), np.zeros(k), np.ones(k), *(np.full(1, 0.5) for _ in range(4))
    )


def document(folder: Path, sha256: str | None, *, with_heads: bool = True) -> LearnerFit:
    facts = None
    if with_heads:
        content, facts = pack_heads("h.safetensors", heads())
        (folder / "h.safetensors").write_bytes(content)
    return LearnerFit(
        backend="mine",
        weights_sha256=sha256,
        emission=dict.fromkeys(STATES, FLAT),
        emission_prior=1,
        heads=facts,
        data="",
        data_sha256="",
        faces=1,
        people=1,
    )


def into_sidecar(weights: Path, **changes: Any) -> None:
    sidecar = load_sidecar(weights)
    fit = document(weights.parent, changes.pop("sha256", sidecar.weights_sha256), **changes)
    text = sidecar.model_copy(update={"learner": fit}).model_dump_json()
    before = sidecar_path(weights).stat().st_mtime_ns
    sidecar_path(weights).write_text(text, encoding="utf-8")
    os.utime(sidecar_path(weights), ns=(before + 1_000_000, before + 1_000_000))


def settings(backend: str = "mine", **learner: Any) -> Settings:
    return Settings.model_validate({"inference": {"backend": backend}, "learner": learner})


def test_a_sidecar_without_a_fit_is_none(host: PluginHost) -> None:
    assert backend_fit(settings(), host) is None
    assert not reads_faces(settings(), host)
    made = new_estimator(settings(), host)
    assert isinstance(made, FittedEstimator)
    assert made.heads is None


def test_a_fit_in_the_sidecar_reaches_the_estimator(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    made = new_estimator(settings(), host)
    assert isinstance(made, FittedEstimator)
    assert made.heads is not None
    assert made.heads.embedding.shape == (1, 2)
    assert reads_faces(settings(), host)
    # The flat matrix is in force: a smile says nothing.
    assert backend_fit(settings(), host) is backend_fit(settings(), host)


def test_faces_are_read_only_for_an_estimator_that_wants_it_and_heads(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    assert not reads_faces(settings(estimator="hmm"), host)
    assert not reads_faces(settings(estimator="nobody"), host)


def test_without_heads_no_faces_are_read(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights, with_heads=False)
    assert not reads_faces(settings(), host)


def test_a_running_service_keeps_the_fit_of_the_weights_it_loaded(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    begun = backend_fit(settings(), host)
    into_sidecar(weights, with_heads=False)  # fitted anew meanwhile
    assert backend_fit(settings(), host) is begun


def test_a_weights_file_as_the_backend_brings_its_fit(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    assert backend_fit(settings(str(weights)), host) is not None


def test_weights_set_for_a_plugin_count_not_the_shipped_ones(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    assert host.weights_of("other") == weights
    assert backend_fit(settings("other"), host) is not None


@pytest.mark.parametrize(
    ("known", "power", "holds"),
    [
        (None, 1.0, True),
        (None, 1.5, False),  # fitted before there were powers
        ((1.0, 1.0), 1.0, True),
        ((1.01, 1.0), 1.0, True),
        ((1.0, 1.5), 1.0, False),
    ],
)
def test_a_fit_of_weights_that_were_calibrated_otherwise_is_refused(
    host: PluginHost, weights: Path, known: tuple[float, float] | None, power: float, holds: bool
) -> None:
    into_sidecar(weights)
    path = sidecar_path(weights)
    sidecar = load_sidecar(weights)
    assert sidecar.learner is not None
    learner = sidecar.learner.model_copy(update={"calibration": known})
    sidecar = sidecar.model_copy(update={"learner": learner, "power": power})
    path.write_text(sidecar.model_dump_json(), encoding="utf-8")
    if holds:
        assert backend_fit(settings(), host) is not None
    else:
        with pytest.raises(CheckpointError, match="weights that were calibrated otherwise"):
            backend_fit(settings(), host)


def test_a_fit_of_other_weights_is_refused(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights, sha256="f" * 64)
    with pytest.raises(CheckpointError, match=r"fit is of other weights .*mine, ffffffffffff"):
        new_estimator(settings(), host)


def test_a_document_of_its_own_wins(host: PluginHost, weights: Path, tmp_path: Path) -> None:
    into_sidecar(weights)
    mine = tmp_path / "mine-fit.json"
    mine.write_text(document(tmp_path, None, with_heads=False).model_dump_json(), encoding="utf-8")
    fit = backend_fit(settings(fit=str(mine)), host)
    assert fit is not None
    assert fit.heads is None
    assert backend_fit(settings("vote", fit=str(mine)), host) is not None


def test_a_document_that_is_none_is_named(host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"learner\.fit: .*nowhere\.json"):
        backend_fit(settings(fit=str(tmp_path / "nowhere.json")), host)
    (tmp_path / "bad.json").write_text(json.dumps({"backend": "x"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"bad\.json: weights_sha256: Field required"):
        backend_fit(settings(fit=str(tmp_path / "bad.json")), host)


def test_a_backend_without_weights_and_fit_has_none(host: PluginHost) -> None:
    assert backend_fit(settings("vote"), host) is None
    assert host.weights_of("vote") is None


def test_a_session_is_made_with_the_fit(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    session = new_session("anna", settings(), host)
    happy = np.array([0.01, 0.01, 0.01, 0.9, 0.01, 0.03, 0.03], np.float32)
    box = np.array([10, 10, 90, 90], np.float32)
    face = Face(1, box, None, 1.0, None, 1.0, happy)
    observation, _ = session.observe(FrameFaces(0.0, 0, 100, 100, (face,), 1))
    # Without an embedding the flat matrix of the fit is the evidence, and it says nothing.
    rates = HmmSettings().base_rates
    np.testing.assert_allclose(observation.estimate.states, [rates[s] / 1.0 for s in STATES], rtol=1e-5)


def test_hmm_takes_the_emission_matrix_of_the_fit_too(host: PluginHost, weights: Path) -> None:
    into_sidecar(weights)
    session = new_session("anna", settings(estimator="hmm"), host)
    happy = np.array([0.01, 0.01, 0.01, 0.9, 0.01, 0.03, 0.03], np.float32)
    face = Face(1, np.array([10, 10, 90, 90], np.float32), None, 1.0, None, 1.0, happy)
    observation, _ = session.observe(FrameFaces(0.0, 0, 100, 100, (face,), 1))
    np.testing.assert_allclose(observation.estimate.states, [HmmSettings().base_rates[s] for s in STATES], rtol=1e-5)


def test_a_fit_of_weights_is_refused_by_a_backend_without(host: PluginHost, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    path.write_text(document(tmp_path, "0" * 64).model_dump_json())
    with pytest.raises(CheckpointError, match=r"the fit is of the backend 'mine', not of 'vote'"):
        backend_fit(settings("vote", fit=str(path)), host)
