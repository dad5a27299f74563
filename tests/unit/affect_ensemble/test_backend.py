import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from affect_ensemble.backend import EnsembleBackend
from affect_ensemble.manifest import Plan, Voter
from affect_ensemble.members import Alone, Stacked

from affect.errors import BackendError, CheckpointError, SettingsError
from affect.inference.backend import Backend
from affect.inference.checkpoint import InputSpec, load_sidecar
from affect.inference.classify import normalise, probabilities
from affect.inference.device import Device
from affect.inference.from_weights import backend_from_weights
from affect.inference.voting import Vote, voted
from affect.testing import FakeBackend, check_backend
from affect.vision.geometry import FER2013_CROP

from .conftest import MakeHost, Write

ARCHITECTURES = {"affect_small:Small"}


@pytest.fixture
def crops() -> torch.Tensor:
    """Faces 0-1, not normalised for anybody yet."""
    return torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(4))


def make(
    paths: Sequence[Path],
    device: Device,
    *,
    vote: Vote = "soft",
    mirror: bool = False,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    stacked: bool = False,
    budget_ms: float | None = None,
) -> EnsembleBackend:
    shares = weights or [1.0] * len(paths)
    plan = Plan(
        tuple(Voter(path.stem, share, temperature) for path, share in zip(paths, shares, strict=True)),
        vote,
        mirror=mirror,
    )
    members = [backend_from_weights(path, device, ARCHITECTURES) for path in paths]
    return EnsembleBackend(plan, members, device, stacked=stacked, budget_ms=budget_ms)


def answers(backend: Backend, crops: torch.Tensor) -> torch.Tensor:
    return probabilities(backend.predict(normalise(crops, backend)), backend.temperature)


# Members


@pytest.mark.parametrize("stacked", [False, True])
def test_members_are_given_the_crop_normalised_their_own_way(
    write: Write, cpu: Device, crops: torch.Tensor, stacked: bool
) -> None:
    paths = [write("a", 1, temperature=2.0), write("b", 2, mean=0.3, std=0.4), write("c", 3, std=1.0, power=1.7)]
    expected = torch.stack([answers(backend_from_weights(p, cpu, ARCHITECTURES), crops) for p in paths]).mean(0)
    torch.testing.assert_close(answers(make(paths, cpu, stacked=stacked), crops), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stacked", [False, True])
def test_the_mirror_is_a_second_opinion_of_each_member(
    write: Write, cpu: Device, crops: torch.Tensor, stacked: bool
) -> None:
    paths = [write("a", 1), write("b", 2, width=5), write("c", 3)]
    members = [backend_from_weights(p, cpu, ARCHITECTURES) for p in paths]
    views = [(answers(m, crops) + answers(m, crops.flip(3))) / 2 for m in members]
    ensemble = make(paths, cpu, mirror=True, vote="weighted", weights=[1, 2, 5], stacked=stacked)
    expected = voted(torch.stack(views), [1, 2, 5], "weighted")
    torch.testing.assert_close(answers(ensemble, crops), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answers(ensemble, crops.flip(3)), expected, atol=1e-5, rtol=1e-4)


def test_equal_networks_are_stacked_and_others_stay_alone(write: Write, cpu: Device) -> None:
    paths = [write("a", 1), write("b", 2, width=5), write("c", 3), write("d", 4, width=5), write("e", 5, width=6)]
    ensemble = make(paths, cpu, stacked=True)
    ensemble.warmup()
    assert [(type(part), part.places) for part in ensemble._parts] == [
        (Stacked, (0, 2)),
        (Stacked, (1, 3)),
        (Alone, (4,)),
    ]
    check_backend(ensemble)


def test_the_temperature_is_that_of_the_members_that_take_part(write: Write, cpu: Device, crops: torch.Tensor) -> None:
    path = write("a", 1)
    flat, sharp = (answers(make([path], cpu, temperature=t), crops) for t in (3.0, 1.0))
    torch.testing.assert_close(flat, (sharp.log() / 3).softmax(1), atol=1e-5, rtol=1e-4)


def test_an_impossible_emotion_has_a_finite_logit(write: Write, cpu: Device) -> None:
    ensemble = make([write("a", 1, temperature=1e-3)], cpu)
    assert torch.isfinite(ensemble.predict(torch.randn(4, 1, 16, 16))).all()


@pytest.mark.parametrize(("what", "value"), [("size", 24), ("channels", 3)])
def test_members_that_want_another_crop_are_named(cpu: Device, what: str, value: int) -> None:
    numbers = {"size": 48, "channels": 1, what: value}
    other = FakeBackend()
    channels = numbers["channels"]
    other.input = InputSpec(
        size=numbers["size"], channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels, crop=FER2013_CROP
    )
    plan = Plan((Voter("one", 1, 1), Voter("two", 1, 1)), "soft", mirror=False)
    with pytest.raises(SettingsError, match=rf"the {what} of one is .* and that of two is {value}"):
        EnsembleBackend(plan, [FakeBackend(), other], cpu)


def test_members_that_place_the_face_differently_are_named(cpu: Device) -> None:
    crop = FER2013_CROP.__class__(tuple((x + 0.1, y) for x, y in FER2013_CROP.landmarks), "elsewhere")
    other = FakeBackend()
    other.input = other.input.model_copy(update={"crop": crop})
    plan = Plan((Voter("one", 1, 1), Voter("two", 1, 1)), "soft", mirror=False)
    with pytest.raises(SettingsError, match=r"one and two place the face differently .*elsewhere"):
        EnsembleBackend(plan, [FakeBackend(), other], cpu)


def test_a_member_that_fails_is_named(cpu: Device) -> None:
    plan = Plan((Voter("one", 1, 1), Voter("two", 1, 1)), "soft", mirror=False)
    ensemble = EnsembleBackend(plan, [FakeBackend(), FakeBackend(fail=RuntimeError("out of memory"))], cpu)
    with pytest.raises(BackendError, match="member two raised RuntimeError: out of memory"):
        ensemble.predict(torch.zeros(1, 1, 48, 48))


def test_weights_other_than_those_the_vote_was_fitted_on_are_refused(
    write: Write, ensemble_host: MakeHost, cpu: Device, tmp_path: Path
) -> None:
    path = write("a", 1)
    entry = {"file": "a.safetensors", "weight": 1, "temperature": 1}
    manifest = tmp_path / "members.json"
    for sha256 in (load_sidecar(path).weights_sha256, "0" * 64):
        text = {"vote": "soft", "mirror": True, "members": [{**entry, "weights_sha256": sha256}]}
        manifest.write_text(json.dumps(text))
        host = ensemble_host(manifest=str(manifest))
        if sha256 == "0" * 64:
            with pytest.raises(CheckpointError, match=r"a\.safetensors: its weights .* are not those the vote was"):
                host.create_backend("ensemble", cpu)
        else:
            check_backend(host.create_backend("ensemble", cpu))


def test_a_member_that_is_calibrated_otherwise_than_when_the_vote_was_found_is_refused(
    write: Write, ensemble_host: MakeHost, cpu: Device, tmp_path: Path
) -> None:
    path = write("a", 1, temperature=1.5, power=1.25)
    entry = {"file": path.name, "weight": 1, "temperature": 1, "weights_sha256": load_sidecar(path).weights_sha256}
    manifest = tmp_path / "members.json"
    for calibration, holds in (([1.5, 1.25], True), ([1.49, 1.26], True), ([1.5, 1.0], False), ([1.0, 1.25], False)):
        members = [{**entry, "calibration": calibration}]
        manifest.write_text(json.dumps({"vote": "soft", "mirror": True, "members": members}))
        host = ensemble_host(manifest=str(manifest))
        with nullcontext() if holds else pytest.raises(CheckpointError, match=r"a\.safetensors: its weights are calib"):
            backend = host.create_backend("ensemble", cpu)
            assert isinstance(backend, EnsembleBackend)
            assert backend.manifest["members"][0]["calibration"] == tuple(calibration)


# Budget


class _Slow(FakeBackend):
    """Takes as long as the test says; a clock of its own stands still otherwise."""

    def __init__(self, clock: "_Clock", milliseconds: float) -> None:
        super().__init__()
        self.clock, self.milliseconds = clock, milliseconds

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        self.clock.now += self.milliseconds / 1000
        return super().predict(faces)


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(("budget", "kept"), [(1.0, 1), (10.5, 1), (30.5, 2), (60.5, 3), (1000.0, 3)])
def test_a_budget_keeps_the_first_members_that_fit(
    cpu: Device, budget: float, kept: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = _Clock()
    monkeypatch.setattr("affect_ensemble.backend.time", clock)
    members = [_Slow(clock, milliseconds) for milliseconds in (10, 20, 30)]
    voters = tuple(Voter(name, 1, temperature) for name, temperature in zip("abc", (1.0, 2.0, 3.0), strict=True))
    ensemble = EnsembleBackend(Plan(voters, "soft", mirror=True), members, cpu, budget_ms=budget, budget_faces=4)
    with caplog.at_level(logging.INFO, logger="affect_ensemble.backend"):
        ensemble.warmup()
        ensemble.warmup()
    assert ensemble.taking_part == tuple("abc"[:kept])
    assert ensemble.temperature == kept
    assert [member.closed for member in members] == [k >= kept for k in range(3)]
    assert 8 in members[0].batches  # four faces and their mirror images
    assert caplog.messages == [f"{kept} of 3 members answer 4 faces within {budget:g} ms"]


def test_a_budget_holds_without_warmup_too(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr("affect_ensemble.backend.time", clock)
    plan = Plan((Voter("a", 1, 1), Voter("b", 1, 1)), "soft", mirror=False)
    ensemble = EnsembleBackend(plan, [_Slow(clock, 10), _Slow(clock, 10)], cpu, budget_ms=15)
    ensemble.predict(torch.zeros(1, 1, 48, 48))
    assert ensemble.taking_part == ("a",)


def test_a_number_of_members_needs_no_clock(
    ensemble_host: MakeHost, cpu: Device, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affect_ensemble.backend.time", None)
    table = {"members": [str(write("a", 1)), str(write("b", 2)), "gone"], "max_members": 2, "budget_ms": 1e-6}
    backend = ensemble_host(**table).create_backend("ensemble", cpu)
    backend.warmup()
    assert isinstance(backend, EnsembleBackend)
    assert len(backend.taking_part) == 2


# What it is


def test_the_fingerprint_follows_weights_and_vote(write: Write, cpu: Device) -> None:
    a, b, c = write("a", 1), write("b", 2), write("c", 3)
    prints = [
        make([a, b], cpu).fingerprint,
        make([a, c], cpu).fingerprint,
        make([a, b], cpu, vote="majority").fingerprint,
        make([a, b], cpu, mirror=True).fingerprint,
        make([a, b], cpu, vote="weighted", weights=[1, 2]).fingerprint,
        make([a, b], cpu, temperature=2).fingerprint,
        make([a, write("b", 2, temperature=2.0)], cpu).fingerprint,
        make([a, write("b", 2, power=1.5)], cpu).fingerprint,
    ]
    assert None not in prints
    assert len(set(prints)) == len(prints)
    assert make([a, c], cpu).fingerprint == prints[1]


def test_without_weights_files_or_with_a_clock_there_is_no_fingerprint(write: Write, cpu: Device) -> None:
    assert make([write("a", 1)], cpu, budget_ms=5).fingerprint is None
    plan = Plan((Voter("a", 1, 1),), "soft", mirror=False)
    assert EnsembleBackend(plan, [FakeBackend()], cpu).fingerprint is None


def test_closing_it_closes_the_members(cpu: Device) -> None:
    members = [FakeBackend(), FakeBackend()]
    plan = Plan((Voter("a", 1, 1), Voter("b", 1, 1)), "soft", mirror=False)
    EnsembleBackend(plan, members, cpu).close()
    assert all(member.closed for member in members)
    members = [FakeBackend(), FakeBackend()]
    ensemble = EnsembleBackend(plan, members, cpu)
    ensemble.warmup()
    ensemble.close()
    assert all(member.closed for member in members)


@pytest.mark.parametrize("table", [{}, {"vote": "majority"}, {"stacked": "always"}, {"mirror": False}])
def test_it_passes_the_contract(ensemble_host: MakeHost, write: Write, cpu: Device, table: dict[str, object]) -> None:
    members = [str(write("a", 1)), str(write("b", 2, mean=0.4)), str(write("c", 3, width=5))]
    check_backend(ensemble_host(members=members, **table).create_backend("ensemble", cpu))


def test_networks_that_cannot_be_stacked_stay_alone(
    write: Write, cpu: Device, crops: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write("a", 1), write("b", 2)]
    expected = answers(make(paths, cpu), crops)

    def unknown(*_: object) -> torch.Tensor:
        raise RuntimeError("NYI: querying is_contiguous inside of vmap")

    monkeypatch.setattr(Stacked, "ask", unknown)
    ensemble = make(paths, cpu, stacked=True)
    ensemble.warmup()
    assert [type(part) for part in ensemble._parts] == [Alone, Alone]
    torch.testing.assert_close(answers(ensemble, crops), expected)


def test_a_budget_keeps_somebody_who_has_a_say(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr("affect_ensemble.backend.time", clock)
    plan = Plan((Voter("mute", 0.0, 1.0), Voter("loud", 1.0, 1.0), Voter("third", 1.0, 1.0)), "weighted", mirror=False)
    ensemble = EnsembleBackend(plan, [_Slow(clock, 10), _Slow(clock, 10), _Slow(clock, 10)], cpu, budget_ms=5)
    ensemble.warmup()
    assert ensemble.taking_part == ("mute", "loud")
