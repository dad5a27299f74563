import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_ensemble.plugin import SHIPPED
from affect_training.data import Split
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.report import judge
from affect_training.export.weights import export
from affect_training.report.facts import CardFacts, find_facts, with_evaluations
from affect_training.report.further import Evaluation, WholePictures, read_evaluation
from affect_training.run import open_run
from support.tiny import install_tiny, tiny_faces

from affect.errors import AffectError, CheckpointError, SettingsError
from affect.inference.checkpoint import load_sidecar
from affect.inference.device import Device
from affect.inference.optional import identity_of
from affect.plugins import PluginHost
from affect.settings import PluginSettings


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
    """What `affect-train evaluate --json` gives, but for the calibration, which older versions did not tell."""
    return {**judge(answers[None], split.labels, "tiny", "PrivateTest").to_json(), "temperature": None, **more}


def whole_pictures(**more: Any) -> dict[str, Any]:
    """What `affect_training.fullframe.FullFrame.to_json` gives."""
    figures = {"n": 100, "found": 90, "recall": 0.9, "recall_ci95": [0.84, 0.95], "accuracy_first": 0.61}
    figures |= {"accuracy_tracked": 0.62, "accuracy_direct": 0.63, "accuracy_direct_all": 0.6}
    figures |= {"difference_ci95": [-0.04, 0.02], "missed": {"sad": [2, 9]}, "false_faces": 3}
    return {"backend": "tiny", "detector": "mtcnn", **figures, **more}


# Evaluations


def test_an_evaluation_is_read_with_the_name_of_its_file(split: Split, answers: Floats, tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    groups = {"groups": [], "accuracy_gap": 0.1, "accuracy_gap_p": 0.5, "macro_recall_gap": 0.2}
    path.write_text(json.dumps(evaluation(split, answers, groups=groups, data_sha256="0", device="cpu")))
    found = read_evaluation(path)
    assert isinstance(found, Evaluation)
    assert (found.source, found.backend, found.split, found.n) == ("private.json", "tiny", "PrivateTest", 70)
    assert found.class_reliability["fear"].guessed == int((answers.argmax(1) == 2).sum())
    assert found.groups is not None
    assert found.groups.accuracy_gap == 0.1
    assert found.robustness is None


def test_faces_in_whole_pictures_are_told_from_an_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "full.json"
    path.write_text(json.dumps({**whole_pictures(), "backend": "cnn"}))
    found = read_evaluation(path)
    assert isinstance(found, WholePictures)
    assert (found.source, found.recall, found.missed["sad"]) == ("full.json", 0.9, (2, 9))


@pytest.mark.parametrize(
    ("content", "why"),
    [("{}", "backend: Field required"), ("[1]", "list"), ("no json", "Expecting value"), (None, "No such file")],
)
def test_what_is_no_evaluation_is_refused_by_name(content: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        SettingsError, match=r"e\.json: expected a JSON file of `affect-train evaluate --json` or `fullframe --json`"
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


def test_figures_of_other_weights_are_refused(
    weights: Path, host: PluginHost, split: Split, answers: Floats, tmp_path: Path
) -> None:
    mine = find_facts(str(weights), host).weights_sha256
    paths = {name: tmp_path / f"{name}.json" for name in ("mine", "other", "old", "full")}
    paths["mine"].write_text(json.dumps(evaluation(split, answers, weights_sha256=mine)))
    paths["other"].write_text(json.dumps(evaluation(split, answers, weights_sha256="ab" * 32)))
    paths["old"].write_text(json.dumps(evaluation(split, answers)))
    paths["full"].write_text(json.dumps(whole_pictures(weights_sha256=mine)))
    recalibrated = evaluation(split, answers, weights_sha256=mine)
    (tmp_path / "recalibrated.json").write_text(json.dumps({**recalibrated, "temperature": 77.0}))
    with pytest.raises(SettingsError, match=r"recalibrated\.json judged these weights under another calibration"):
        find_facts(str(weights), host, [read_evaluation(tmp_path / "recalibrated.json")])
    read = {name: read_evaluation(path) for name, path in paths.items()}
    facts = find_facts(str(weights), host, [read["mine"], read["full"]])
    assert [one.source for one in facts.evaluations] == ["mine.json"]
    assert [one.source for one in facts.whole_pictures] == ["full.json"]
    with pytest.raises(
        SettingsError, match=rf"other\.json judged other weights \(tiny, abababababab\) than .*{weights.name}"
    ):
        find_facts(str(weights), host, [read["mine"], read["other"]])
    with pytest.raises(SettingsError, match=rf"old\.json does not say which weights it judged .*{weights.name} again"):
        find_facts(str(weights), host, [read["old"]])
    for other in ("mine", "old"):
        with pytest.raises(SettingsError, match=rf"{other}\.json"):
            find_facts("cnn", host, [read[other]])


def test_a_backend_that_nothing_tells_from_others_is_known_by_its_name(split: Split, answers: Floats) -> None:
    content = {**evaluation(split, answers), "source": "e.json"}
    found = Evaluation.model_validate(content)
    assert with_evaluations(CardFacts(name="tiny"), [found]).evaluations == (found,)
    with pytest.raises(SettingsError, match=r"e\.json does not say"):
        with_evaluations(CardFacts(name="grey"), [found])


def test_the_configured_weights_are_described(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)
    host = PluginHost(PluginSettings.model_validate({"cnn": {"weights": str(weights)}}))
    facts = find_facts("cnn", host)
    assert (facts.name, facts.place) == ("cnn", weights)
    assert facts.weights_sha256 == load_sidecar(weights).weights_sha256
    assert facts.recipe is not None
    assert facts.recipe.name == "tiny"


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
        ("template-mirror", "has neither a weights file of its own nor members"),
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
    assert [voter.weights_sha256 for voter in facts.members] == [f.weights_sha256 for f in alone]
    # A card of the manifest takes figures of the backend that serves it, and of no other.
    for change, same in (({}, True), ({"vote": "soft"}, False), ({"mirror": False}, False)):
        served = host.configured("ensemble", {"manifest": str(path), **change}).create_backend(
            "ensemble", Device("cpu")
        )
        assert (identity_of(served).fingerprint == facts.fingerprint) == same
        served.close()


def test_an_ensemble_by_name_is_what_is_configured_or_shipped(host: PluginHost, tmp_path: Path) -> None:
    shipped = find_facts("ensemble", host)
    manifest = json.loads(SHIPPED.read_text())
    assert [voter.name for voter in shipped.members] == [member["backend"] for member in manifest["members"]]
    assert [voter.weights_sha256 for voter in shipped.members] == [m["weights_sha256"] for m in manifest["members"]]
    assert shipped.fingerprint == find_facts(str(SHIPPED), host).fingerprint
    assert shipped.metrics["accuracy"].value == manifest["metrics"]["accuracy"]["value"]
    # The gain of searched weights is that of a weighted vote of all; an equal vote of the same members has none.
    for vote, told in (("weighted", True), ("soft", False)):
        searched = {**manifest, "vote": vote, "selection": {**manifest["selection"], "gain": {"gain": 0.01}}}
        path = tmp_path / f"{vote}.json"
        path.write_text(json.dumps(searched), encoding="utf-8")
        assert ("gain" in find_facts(str(path), host).training["selection"]) == told
    for voter in shipped.members:
        assert voter.facts is not None
        assert voter.facts.data in shipped.data
        assert voter.facts.licence in shipped.licence
    other = find_facts("ensemble", host.configured("ensemble", {"members": ["cnn"], "mirror": False}))
    assert [voter.name for voter in other.members] == ["cnn"]
    assert (dict(other.metrics), other.vote) == ({}, "soft vote")
    assert other.fingerprint != shipped.fingerprint


def test_a_member_with_other_weights_than_the_vote_was_found_with_is_refused(weights: Path, host: PluginHost) -> None:
    member = {"file": weights.name, "weight": 1, "temperature": 1.0, "weights_sha256": "0" * 64}
    path = weights.with_name("pair.json")
    path.write_text(json.dumps({"vote": "soft", "mirror": True, "members": [member]}))
    with pytest.raises(
        CheckpointError, match=r"tiny\.safetensors: its weights .* are not those the vote was found with"
    ):
        find_facts(str(path), host)


def test_a_member_that_is_not_here_leaves_sizes_unknown(weights: Path, host: PluginHost) -> None:
    path = weights.with_name("pair.json")
    members = [{"file": "gone.safetensors", "weight": 1}, {"backend": "cnn", "weight": 1}]
    path.write_text(json.dumps({"vote": "soft", "mirror": False, "members": members}))
    facts = find_facts(str(path), host)
    assert facts.parameters is None
    assert facts.megabytes is None
    assert [voter.name for voter in facts.members] == ["gone", "cnn"]
    assert asdict(facts)["members"][0]["facts"] is None
