from collections.abc import Callable
from pathlib import Path

import pytest

from affect.errors import BackendError, ErrorCode, SettingsError
from affect.inference.device import Device
from affect.learner.estimator import HmmEstimator
from affect.learner.fitted import FittedEstimator
from affect.plugins import PluginHost
from affect.sinks import JsonlSink
from affect.vision.haar import Haar
from affect.vision.mtcnn import Mtcnn

MakeHost = Callable[..., PluginHost]


def test_the_core_registers_detectors_estimators_and_a_sink(make_host: MakeHost) -> None:
    host = make_host()
    assert host.plugins[0].provides == {
        "detectors": ["mtcnn", "haar", "yunet"],
        "estimators": ["hmm", "fitted"],
        "sinks": ["jsonl"],
    }


def test_detectors_get_their_tables(make_host: MakeHost, cpu: Device) -> None:
    host = make_host({"haar": {"min_face": 0.5}, "mtcnn": {"max_candidates": 7}})
    haar, mtcnn = host.create_detector("haar", cpu), host.create_detector("mtcnn", cpu)
    assert isinstance(haar, Haar)
    assert haar.settings.min_face == 0.5
    assert isinstance(mtcnn, Mtcnn)
    assert mtcnn.settings.max_candidates == 7


def test_yunet_without_its_model_file_says_what_to_set(make_host: MakeHost, cpu: Device) -> None:
    with pytest.raises(BackendError, match=r"plugins\.yunet\.model") as caught:
        make_host().create_detector("yunet", cpu)
    assert caught.value.code is ErrorCode.BACKEND_UNAVAILABLE


def test_every_session_gets_an_estimator_of_its_own(make_host: MakeHost) -> None:
    host = make_host({"hmm": {"tau_c_s": 3.5}})
    one, two = host.create_estimator("hmm"), host.create_estimator("hmm")
    assert isinstance(one, HmmEstimator)
    assert one is not two
    assert one.settings.tau_c_s == 3.5


def test_fitted_has_what_is_set_for_hmm_and_its_own_above_it(make_host: MakeHost) -> None:
    host = make_host({"hmm": {"tau_c_s": 3.5, "min_share": 0.05}, "fitted": {"tau_heads_s": 7.0, "min_share": 0.01}})
    estimator = host.create_estimator("fitted")
    assert isinstance(estimator, FittedEstimator)
    assert (estimator.settings.tau_c_s, estimator.settings.tau_heads_s, estimator.settings.min_share) == (3.5, 7, 0.01)
    assert isinstance(host.create_estimator("hmm"), HmmEstimator)


def test_a_key_of_fitted_is_none_of_hmm(make_host: MakeHost) -> None:
    with pytest.raises(SettingsError, match=r"plugins\.hmm\.tau_heads_s"):
        make_host({"hmm": {"tau_heads_s": 3.5}}).create_estimator("hmm")


def test_a_wrong_key_of_the_estimator_is_named(make_host: MakeHost) -> None:
    with pytest.raises(SettingsError, match=r"plugins\.hmm\.tau"):
        make_host({"hmm": {"tau": 3.5}}).create_estimator("hmm")


def test_the_sink_makes_its_folder(make_host: MakeHost, tmp_path: Path) -> None:
    sink = make_host({"jsonl": {"folder": str(tmp_path / "a" / "b")}}).create_sink("jsonl")
    assert isinstance(sink, JsonlSink)
    assert (tmp_path / "a" / "b").is_dir()
