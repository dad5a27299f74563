import json
from pathlib import Path
from typing import Any

import pytest
from affect_ensemble.manifest import Voter, plan_of, read_manifest
from affect_ensemble.plugin import EnsembleSettings

from affect.errors import SettingsError

NOWHERE = Path("/nonexistent/members.json")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "members.json"
    text = {
        "vote": "weighted",
        "mirror": False,
        "members": [
            {"file": "deep/a.safetensors", "weight": 0.7, "temperature": 1.5, "weights_sha256": "aa"},
            {"backend": "cnn", "weight": 0.3, "temperature": 1.2},
        ],
        "metrics": {"accuracy": {"value": 0.7, "ci95": [0.68, 0.72], "split": "PublicTest", "n": 3588}},
    }
    path.write_text(json.dumps(text))
    return path


def settings(**table: Any) -> EnsembleSettings:
    return EnsembleSettings.model_validate(table)


def test_a_manifest_names_files_relative_to_itself(manifest: Path, tmp_path: Path) -> None:
    plan = plan_of(settings(manifest=manifest), NOWHERE)
    assert plan.members == (
        Voter(str(tmp_path / "deep/a.safetensors"), 0.7, 1.5, "aa"),
        Voter("cnn", 0.3, 1.2, None),
    )
    assert (plan.vote, plan.mirror) == ("weighted", False)


def test_the_shipped_manifest_serves_when_nothing_is_set(manifest: Path) -> None:
    assert plan_of(settings(), manifest) == plan_of(settings(manifest=manifest), NOWHERE)


def test_listed_members_win_over_the_shipped_manifest(manifest: Path) -> None:
    plan = plan_of(settings(members=["a", "b"]), manifest)
    assert [voter.reference for voter in plan.members] == ["a", "b"]
    assert (plan.vote, plan.mirror) == ("soft", True)
    assert {(voter.weight, voter.temperature) for voter in plan.members} == {(1.0, 1.0)}


def test_weights_make_the_vote_weighted() -> None:
    plan = plan_of(settings(members=["a", "b"], weights=[3, 1], temperature=1.3), NOWHERE)
    assert plan.vote == "weighted"
    assert [(voter.weight, voter.temperature) for voter in plan.members] == [(3.0, 1.3), (1.0, 1.3)]


def test_fewer_members_keep_the_temperature_fitted_for_so_many(manifest: Path) -> None:
    (only,) = plan_of(settings(manifest=manifest, max_members=1), NOWHERE).members
    assert only.temperature == 1.5


def test_another_vote_drops_temperatures_that_were_not_fitted_for_it(manifest: Path) -> None:
    plan = plan_of(settings(manifest=manifest, vote="majority"), NOWHERE)
    assert [(voter.weight, voter.temperature) for voter in plan.members] == [(1.0, 1.0), (1.0, 1.0)]
    plan = plan_of(settings(manifest=manifest, weights=[1, 2]), NOWHERE)
    assert [(voter.weight, voter.temperature) for voter in plan.members] == [(1.0, 1.0), (2.0, 1.0)]
    plan = plan_of(settings(manifest=manifest, vote="weighted", mirror=True), NOWHERE)
    assert [(voter.weight, voter.temperature) for voter in plan.members] == [(0.7, 1.5), (0.3, 1.2)]
    assert plan.mirror


def test_the_vote_in_force_is_told_as_a_manifest_with_figures_only_where_they_hold(manifest: Path) -> None:
    text = json.loads(manifest.read_text())
    metric = {"value": 0.6, "ci95": None, "split": "PublicTest", "n": 3588}
    text["members"][0]["metrics"] = {"accuracy": metric}
    manifest.write_text(json.dumps({**text, "selection": {"seed": 3}}))
    first = plan_of(settings(manifest=manifest, max_members=1), NOWHERE).as_manifest(1)
    assert [member["backend"] for member in first["members"]] == [str(manifest.parent / "deep/a.safetensors")]
    assert first["members"][0]["weights_sha256"] == "aa"
    assert first["metrics"] == first["members"][0]["metrics"] == {"accuracy": metric}
    assert first["selection"] == {"seed": 3}
    for change in ({"vote": "soft"}, {"mirror": True}, {"temperature": 2.0}, {"weights": [1, 2]}):
        other = plan_of(settings(manifest=manifest, **change), NOWHERE).as_manifest(2)
        assert other["metrics"] == other["members"][0]["metrics"] == other["selection"] == {}
    assert read_manifest(manifest).selection == {"seed": 3}


def test_weights_for_another_number_of_members_are_refused(manifest: Path) -> None:
    with pytest.raises(SettingsError, match=r"plugins\.ensemble\.weights has 3 numbers for 2 members"):
        plan_of(settings(manifest=manifest, weights=[1, 2, 3]), NOWHERE)


def test_a_vote_without_any_weight_is_refused() -> None:
    with pytest.raises(SettingsError, match="first members all have weight 0"):
        plan_of(settings(members=["a", "b"], weights=[0, 1], max_members=1), NOWHERE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"members": []}, "members: Tuple should have at least 1 item"),
        ({"vote": "loud"}, "vote: "),
        ({"format": 2}, "format: "),
        ({"members": [{"weight": 1, "temperature": 1}]}, r"members\.0: .*has a backend or a file"),
        ({"members": [{"backend": "a", "file": "b", "weight": 1, "temperature": 1}]}, "a backend or a file"),
        ({"members": [{"backend": "a", "weight": 1, "temperature": 0}]}, r"members\.0\.temperature: "),
        ({"surprise": 1}, "surprise: "),
    ],
)
def test_a_wrong_manifest_is_named_with_its_field(manifest: Path, change: dict[str, Any], says: str) -> None:
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    with pytest.raises(SettingsError, match=rf"plugins\.ensemble\.manifest: .*members\.json: .*{says}"):
        read_manifest(manifest)


def test_what_is_no_json_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("members = 3")
    with pytest.raises(SettingsError, match=r"m\.json: file: Invalid JSON"):
        read_manifest(tmp_path / "m.json")
    with pytest.raises(SettingsError, match=r"gone\.json: No such file"):
        read_manifest(tmp_path / "gone.json")
