"""The ensemble as one backend: the members' probabilities, voted; its logits are their logarithm."""

import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from affect.errors import CheckpointError
from affect.inference.backend import Backend
from affect.inference.calibration import same_calibration
from affect.inference.checkpoint import InputSpec
from affect.inference.device import Device
from affect.inference.optional import calibration_of, identity_of, sidecar_of
from affect.inference.voting import Ballot, fingerprint, voted
from affect_ensemble.manifest import Plan
from affect_ensemble.members import Alone, Part, common_input, parts_of, renormalisation

log = logging.getLogger(__name__)

SMALLEST = 1e-9
"""Probabilities below this have the logarithm of it."""

REPEATS = 3
"""Times a member is measured; the median counts."""


class EnsembleBackend:
    """Members that see the same crop and vote.

    Args:
        plan: How they vote; one entry for each member, the most useful first.
        members: The backends, in the plan's order. Closed with the ensemble.
        device: Where they run.
        budget_ms: Time for a batch; members beyond it are closed. None keeps all.
        budget_faces: Faces in that batch.
        stacked: Run members of one network in one pass.

    Raises:
        SettingsError: Members want different crops.
        CheckpointError: A member's weights are not those the vote was fitted on.
    """

    def __init__(
        self,
        plan: Plan,
        members: Sequence[Backend],
        device: Device,
        *,
        budget_ms: float | None = None,
        budget_faces: int = 8,
        stacked: bool = False,
    ) -> None:
        names = [voter.reference for voter in plan.members]
        self.input: InputSpec = common_input(members, names)
        self.mirror = plan.mirror
        self.fingerprint = _fingerprint(plan, members) if budget_ms is None else None
        self._plan, self._members, self._device = plan, list(members), device
        self._budget_ms, self._budget_faces, self._stacked = budget_ms, budget_faces, stacked
        self._parts: list[Part] = []
        self._order: list[int] = []
        for voter, member in zip(plan.members, members, strict=True):
            sidecar = sidecar_of(member)
            found = None if sidecar is None else sidecar.weights_sha256
            if voter.weights_sha256 is not None and found is not None and found != voter.weights_sha256:
                raise CheckpointError(
                    f"ensemble member {voter.reference}: its weights ({found[:12]}) are not those the vote was fitted "
                    f"on ({voter.weights_sha256[:12]}); run `affect-train ensemble` again"
                )
            calibration = None if sidecar is None else sidecar.calibration
            if voter.weights_sha256 is not None and not same_calibration(voter.calibration, calibration):
                raise CheckpointError(
                    f"ensemble member {voter.reference}: its weights are calibrated otherwise than when the vote was "
                    "fitted; run `affect-train ensemble` again"
                )

    input: InputSpec
    mirror: bool
    fingerprint: str | None
    """Changes when an answer may. None when a member has none or no weights file, or the clock decides who votes."""

    @property
    def temperature(self) -> float:
        """Calibration of the vote of those members that take part."""
        return self._plan.members[len(self._members) - 1].temperature

    @property
    def taking_part(self) -> tuple[str, ...]:
        """Names of the members that vote, the most useful first."""
        return tuple(voter.reference for voter in self._plan.members[: len(self._members)])

    @property
    def manifest(self) -> dict[str, Any]:
        """The vote in force as the content of a manifest, the settings and the budget heeded."""
        return self._plan.as_manifest(len(self._members))

    @torch.inference_mode()
    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 7], the logarithm of the voted probabilities, float32."""
        parts = self._parts or self._prepare()
        views = torch.cat([faces, faces.flip(3)]) if self.mirror else faces
        answers = torch.cat([part.ask(views) for part in parts])[self._order]
        if self.mirror:
            answers = (answers[:, : len(faces)] + answers[:, len(faces) :]) / 2
        weights = [voter.weight for voter in self._plan.members[: len(self._members)]]
        return voted(answers, weights, self._plan.vote).clamp_min(SMALLEST).log()

    def warmup(self) -> None:
        """Warm the members up; with a budget, measure them and keep those that fit."""
        if self._parts or not self._members:
            return
        for member in self._members:
            member.warmup()
        self._prepare()
        spec = self.input
        for count in (1, 8):
            self.predict(torch.zeros(count, spec.channels, spec.size, spec.size, device=self._device.torch))

    def close(self) -> None:
        """Close all members."""
        for part in self._parts:
            part.close()
        if not self._parts:
            for member in self._members:
                member.close()
        self._parts, self._members = [], []

    def _prepare(self) -> list[Part]:
        if self._budget_ms is not None:
            self._keep_within(self._budget_ms)
        names = self.taking_part
        self._parts = parts_of(self._members, names, self.input, self._device, stacked=self._stacked)
        places = [place for part in self._parts for place in part.places]
        self._order = [places.index(k) for k in range(len(places))]
        return self._parts

    def _keep_within(self, budget_ms: float) -> None:
        spec = self.input
        count = self._budget_faces * (2 if self.mirror else 1)
        faces = torch.zeros(count, spec.channels, spec.size, spec.size, device=self._device.torch)
        spent, keep = 0.0, 0
        for k, member in enumerate(self._members):
            affine = renormalisation(spec, member.input, self._device.torch)
            spent += self._milliseconds(Alone(k, self.taking_part[k], member, affine), faces)
            if spent > budget_ms and any(voter.weight > 0 for voter in self._plan.members[:k]):
                break
            keep = k + 1
        for member in self._members[keep:]:
            member.close()
        log.info(
            "%d of %d members answer %d faces within %g ms", keep, len(self._members), self._budget_faces, budget_ms
        )
        self._members = self._members[:keep]

    def _milliseconds(self, part: Part, faces: torch.Tensor) -> float:
        part.ask(faces)  # chooses kernels
        times = []
        for _ in range(REPEATS):
            self._wait()
            started = time.perf_counter()
            part.ask(faces)
            self._wait()
            times.append(time.perf_counter() - started)
        return statistics.median(times) * 1000

    def _wait(self) -> None:
        if self._device.is_cuda:
            torch.cuda.synchronize(self._device.torch)


def _fingerprint(plan: Plan, members: Sequence[Backend]) -> str | None:
    ballots = [
        Ballot(identity_of(member).either, calibration_of(member), member.input, voter.weight, voter.temperature)
        for voter, member in zip(plan.members, members, strict=True)
    ]
    return fingerprint(ballots, plan.vote, mirror=plan.mirror)
