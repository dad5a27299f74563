import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_training.data import Split
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.report import judge
from affect_training.export.weights import export
from affect_training.report.facts import find_facts, read_evaluation
from affect_training.run import open_run
from support.tiny import install_tiny, tiny_faces

from affect.errors import AffectError, CheckpointError, SettingsError
from affect.inference.device import Device
from affect.plugins import PluginHost


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    install_tiny(monkeypatch)
    return PluginHost()


@pytest.fixture
def weights(host: PluginHost, trained: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    export(open_run(trained, tiny_faces(), Device("cpu", "float32")), path)
    return path


def evaluation(split: Split, answers: Floats, **more: Any) -> dict[str, Any]:
    return {**judge(answers[None], split.labels, "tiny", "PrivateTest").to_json(), **more}


# Evaluations


def test_an_evaluation_is_read_with_the_name_of_its_file(split: Split, answers: Floats, tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    groups = {"groups": [], "accuracy_gap": 0.1, "accuracy_gap_p": 0.5, "macro_recall_gap": 0.2}
    path.write_text(json.dumps(evaluation(split, answers, groups=groups, data_sha256="0", device="cpu")))
    found = read_evaluation(path)
    assert (found.source, found.backend, found.split, found.n) == ("private.json", "tiny", "PrivateTest", 70)
    assert found.groups is not None
    assert found.groups.accuracy_gap == 0.1
    assert found.robustness is None


@pytest.mark.parametrize(
    ("content", "why"),
    [("{}", "backend: Field required"), ("[1]", "list"), ("no json", "Expecting value"), (None, "No such file")],
)
def test_what_is_no_evaluation_is_refused_by_name(content: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        SettingsError, match=r"e\.json: expected a JSON file of `affect-train evaluate --json`"
    ) as caught:
        read_evaluation(path)
    assert why in caught.value.message


# Weights


def test_weights_tell_what_their_sidecar_and_answers_say(weights: Path, host: PluginHost) -> None:
    facts = find_facts(str(weights), host)
    assert facts.name == "tiny"
    assert facts.recipe is not None
    assert facts.summary == facts.recipe.summary == "a network for tests"
    assert facts.config["train"]["seed"] == 5
    assert facts.answers is not None
    assert facts.answers.probabilities.shape == (21, 7)
    assert np.allclose(facts.answers.probabilities.sum(axis=1), 1)
    right = (facts.answers.probabilities.argmax(1) == facts.answers.labels).mean()
    assert facts.metrics["accuracy"].value == pytest.approx(right, abs=1e-5)


def test_a_sidecar_may_travel_without_its_answers(weights: Path, host: PluginHost) -> None:
    weights.with_name("tiny.publictest.safetensors").unlink()
    assert find_facts(str(weights), host).answers is None


def test_broken_answers_are_refused(weights: Path, host: PluginHost) -> None:
    weights.with_name("tiny.publictest.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="expected tensors probabilities and labels"):
        find_facts(str(weights), host)


def test_a_registered_backend_is_found_by_name(host: PluginHost) -> None:
    facts = find_facts("cnn", host)
    assert facts.name == "cnn"
    assert facts.parameters == 5_008_551
    assert "Nguyen" in facts.summary


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "no such weights file"),
        ("nobody", "no backend 'nobody'"),
        ("ensemble", "has no weights file of its own; for an ensemble, name its manifest"),
        ("missing.json", "expected a manifest"),
    ],
)
def test_what_has_no_facts_is_refused(name: str, message: str, host: PluginHost) -> None:
    with pytest.raises(AffectError, match=message):
        find_facts(name, host)


# Ensembles


def test_an_ensemble_has_the_facts_of_its_members(weights: Path, host: PluginHost) -> None:
    metric = {"value": 0.7, "ci95": [0.6, 0.8], "split": "PublicTest", "n": 21}
    members = [
        {"file": weights.name, "weight": 0.75, "temperature": 1.0, "metrics": {"accuracy": metric}},
        {"backend": "cnn", "weight": 0.25, "temperature": 1.1},
    ]
    path = weights.with_name("trio.json")
    path.write_text(
        json.dumps({"vote": "weighted", "mirror": True, "members": members, "metrics": {"accuracy": metric}})
    )
    facts = find_facts(str(path), host)
    assert facts.name == "trio"
    assert facts.summary == "2 members, weighted vote, each face and its mirror image"
    assert [(voter.name, voter.weight) for voter in facts.members] == [("tiny", 0.75), ("cnn", 0.25)]
    assert facts.members[0].metrics["accuracy"].ci95 == (0.6, 0.8)
    alone = [find_facts(name, host) for name in (str(weights), "cnn")]
    assert facts.parameters == sum(f.parameters or 0 for f in alone)
    assert facts.megabytes == pytest.approx(sum(f.megabytes or 0 for f in alone))
    assert alone[0].licence in facts.licence


def test_a_member_that_is_not_here_leaves_sizes_unknown(weights: Path, host: PluginHost) -> None:
    path = weights.with_name("pair.json")
    members = [{"file": "gone.safetensors", "weight": 1}, {"backend": "cnn", "weight": 1}]
    path.write_text(json.dumps({"vote": "soft", "mirror": False, "members": members}))
    facts = find_facts(str(path), host)
    assert facts.parameters is None
    assert facts.megabytes is None
    assert [voter.name for voter in facts.members] == ["gone", "cnn"]
    assert asdict(facts)["members"][0]["facts"] is None
