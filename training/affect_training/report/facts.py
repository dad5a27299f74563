"""What is known of a classifier, gathered from where it lies: weights with a sidecar, an ensemble's manifest, a run.

Figures come from the sidecar, from the PublicTest answers beside it, and from the JSON files of `affect-train evaluate`
and `affect-train fullframe`, which must be of the same weights. Nothing is run here; only an ensemble is opened.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from affect.errors import CheckpointError, SettingsError
from affect.inference.backend import Backend
from affect.inference.calibration import same_calibration
from affect.inference.checkpoint import InputSpec, Metric, Sidecar, load_sidecar
from affect.inference.device import Device
from affect.inference.optional import manifest_of
from affect.inference.voting import Ballot, fingerprint
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect.settings.fit import LearnerFit
from affect.settings.root import weights_path
from affect.types import Calibration
from affect_training.evaluation.metrics import Floats, Labels
from affect_training.report.further import Evaluation, Further, WholePictures


@dataclass(frozen=True, slots=True)
class Answers:
    """Calibrated probabilities [N, 7] and labels [N] of PublicTest."""

    probabilities: Floats
    labels: Labels


@dataclass(frozen=True, slots=True)
class Voter:
    """A member of an ensemble: name, weight in the vote, figures of the vote of all members up to this one.

    `weights_sha256` is that of the weights the vote was found with; None when they are not one file.
    """

    name: str
    weight: float
    metrics: Mapping[str, Metric]
    facts: "CardFacts | None" = None
    weights_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything a model card may say.

    Attributes:
        name: What to call it.
        summary: In a sentence; empty when unknown.
        architecture, parameters, megabytes, input, calibration, weights_sha256: None when there is no such thing.
        fingerprint: Of an ensemble, which has no weights file of its own; None when unknown.
        place: The weights file or the manifest, for messages.
        data, licence: In words.
        training: As in the sidecar: configuration, faces, versions, commit, best epoch, minutes.
        metrics: Figures with their split, number of faces and interval.
        recipe: What it was trained by, when a plugin registers that.
        answers: On PublicTest.
        learner: What was fitted on these weights to read learner states.
        members: Of an ensemble.
        vote: How those vote; empty otherwise.
        evaluations, whole_pictures: Further figures; see `with_evaluations`.
    """

    name: str
    summary: str = ""
    architecture: str | None = None
    parameters: int | None = None
    megabytes: float | None = None
    input: InputSpec | None = None
    calibration: Calibration | None = None
    weights_sha256: str | None = None
    fingerprint: str | None = None
    place: Path | None = None
    data: str = ""
    licence: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    recipe: RecipeSpec | None = None
    answers: Answers | None = None
    learner: LearnerFit | None = None
    members: tuple[Voter, ...] = ()
    vote: str = ""
    evaluations: tuple[Evaluation, ...] = ()
    whole_pictures: tuple[WholePictures, ...] = ()

    @property
    def served_views(self) -> str:
        """What of each face is looked at as it serves, as `evaluate --tta` calls it."""
        return "mirror" if "mirror" in self.vote else "none"

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration of the run; empty when unknown."""
        found = self.training.get("config")
        return found if isinstance(found, Mapping) else {}


def find_facts(
    name: str, host: PluginHost, evaluations: Sequence[Further] = (), *, backend: Backend | None = None
) -> CardFacts:
    """Gather the facts of a registered backend, a weights file, or an ensemble's manifest.

    Args:
        name: Of the backend, or a path that ends in `.safetensors` or `.json`.
        host: The plugins, for summaries, recipes, and which weights are configured.
        evaluations: Further figures.
        backend: The backend itself, if it is open already. One without a weights file of its own is opened otherwise:
            an ensemble alone knows who votes.

    Raises:
        SettingsError: The backend has neither weights file nor members, the manifest is none, or figures are of other
            weights.
        PluginError: No such backend.
        CheckpointError: There is no sidecar, it is damaged, or a member has other weights than the vote was found with.
    """
    if name.endswith(".json"):
        return with_evaluations(_of_manifest(Path(name), host), evaluations)
    registered = weights_path(name) is None
    summary = host.backends.get(name).summary if registered else ""
    weights = host.weights_of(name)
    if weights is not None:
        return with_evaluations(of_weights(name if registered else weights.stem, weights, host, summary), evaluations)
    manifest = manifest_by_name(name, host) if backend is None else manifest_of(backend)
    if manifest is None:
        raise SettingsError(f"backend {name!r} has neither a weights file of its own nor members")
    return with_evaluations(_of_vote(name, manifest, Path(), host), evaluations)


def with_evaluations(facts: CardFacts, found: Sequence[Further]) -> CardFacts:
    """Add further figures.

    Raises:
        SettingsError: They are of other weights, or do not say of which; names both.
    """
    mine, whose = facts.weights_sha256 or facts.fingerprint, facts.place or facts.name
    for figures in found:
        theirs = figures.weights_sha256 or figures.fingerprint
        if theirs is None and (mine is not None or figures.backend != facts.name):
            raise SettingsError(
                f"{figures.source} does not say which weights it judged (its backend is {figures.backend}); measure "
                f"{whose} again"
            )
        if theirs != mine:
            raise SettingsError(
                f"{figures.source} judged other weights ({figures.backend}, {str(theirs)[:12]}) than those of {whose} "
                f"({mine[:12] if mine else 'sha256 unknown'}); measure these"
            )
        if isinstance(figures, Evaluation) and not same_calibration(figures.calibration, facts.calibration):
            raise SettingsError(
                f"{figures.source} judged these weights under another calibration than that of {whose}; measure again"
            )
    return replace(
        facts,
        evaluations=tuple(one for one in found if isinstance(one, Evaluation)),
        whole_pictures=tuple(one for one in found if isinstance(one, WholePictures)),
    )


def of_weights(name: str, weights: Path, host: PluginHost, summary: str = "") -> CardFacts:
    """Gather the facts of a weights file from its sidecar and the answers beside it."""
    if weights.suffix != ".safetensors":
        raise SettingsError(f"{weights}: a card is made of a .safetensors file with its sidecar, or of a manifest")
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such weights file")
    sidecar = load_sidecar(weights)
    recipe = recipe_of(sidecar.training, host)
    return CardFacts(
        name=name,
        summary=summary or (recipe.summary if recipe else ""),
        architecture=sidecar.architecture,
        parameters=sidecar.parameters,
        megabytes=weights.stat().st_size / 1e6,
        input=sidecar.input,
        calibration=sidecar.calibration,
        weights_sha256=sidecar.weights_sha256,
        place=weights,
        data=sidecar.data,
        licence=sidecar.licence,
        training=sidecar.training,
        metrics=sidecar.metrics,
        recipe=recipe,
        answers=_answers(weights, sidecar),
        learner=sidecar.learner,
    )


def recipe_of(training: Mapping[str, Any], host: PluginHost) -> RecipeSpec | None:
    """Return the recipe a run names, when a plugin registers it."""
    config = training.get("config")
    name = config.get("recipe") if isinstance(config, Mapping) else None
    return host.recipes.get(name) if isinstance(name, str) and name in host.recipes else None


def _answers(weights: Path, sidecar: Sidecar) -> Answers | None:
    if sidecar.predictions is None:
        return None
    path = weights.with_name(Path(sidecar.predictions).name)
    try:
        tensors = load_file(path)
        probabilities, labels = tensors["probabilities"].astype(np.float64), tensors["labels"].astype(np.int64)
    except FileNotFoundError:
        return None  # the sidecar travels without it
    except (SafetensorError, KeyError) as exc:
        raise CheckpointError(f"{path}: expected tensors probabilities and labels ({exc})") from exc
    return Answers(probabilities / probabilities.sum(axis=1, keepdims=True), labels)


def manifest_by_name(name: str, host: PluginHost) -> Mapping[str, Any] | None:
    """Open a backend and return who votes in it; None when it is no ensemble."""
    backend = host.create_backend(name, Device("cpu"))
    try:
        return manifest_of(backend)
    finally:
        backend.close()


def _of_manifest(path: Path, host: PluginHost) -> CardFacts:
    folder = path.resolve().parent
    shipped = folder.parent.name.removeprefix("affect_") if folder.name == "weights" else folder.name
    name = shipped if path.stem == "members" else path.stem
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return replace(_of_vote(name, manifest, path.parent, host), place=path)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise SettingsError(f"{path}: expected a manifest of `affect-train ensemble` ({exc!r})") from exc


def _of_vote(name: str, manifest: Mapping[str, Any], folder: Path, host: PluginHost) -> CardFacts:
    """Gather the facts of an ensemble from its manifest's content; files are relative to the folder."""
    entries = manifest["members"]
    members = tuple(_voter(entry, folder, host) for entry in entries)
    vote = f"{manifest['vote']} vote" + (", each face and its mirror image" if manifest["mirror"] else "")
    known = [member.facts for member in members if member.facts is not None]
    sizes = [facts.megabytes for facts in known if facts.megabytes is not None]
    whole = len(known) == len(members)
    temperature = entries[-1].get("temperature")
    licences = {facts.name: facts.licence for facts in known if facts.licence}
    if len(set(licences.values())) > 1:
        licences = {name: f"{name}: {licence}" for name, licence in licences.items()}
    return CardFacts(
        name=name,
        summary=f"{len(members)} members, {vote}",
        parameters=sum(facts.parameters or 0 for facts in known) if whole else None,
        megabytes=sum(sizes) if whole else None,
        input=known[0].input if known else None,
        calibration=None if temperature is None else Calibration(temperature),
        fingerprint=_fingerprint(manifest, members),
        data="\n\n".join(dict.fromkeys(f"{facts.name}: {facts.data}" for facts in known if facts.data)),
        licence="\n\n".join(dict.fromkeys(licences.values())),
        training={"selection": _selection(manifest)},
        metrics={key: Metric.model_validate(metric) for key, metric in manifest.get("metrics", {}).items()},
        members=members,
        vote=vote,
    )


def _voter(member: Mapping[str, Any], folder: Path, host: PluginHost) -> Voter:
    name = member.get("backend") or str(folder / member["file"])
    try:
        facts = find_facts(name, host)
    except (SettingsError, CheckpointError):
        facts = None
    expected, found = member.get("weights_sha256"), facts.weights_sha256 if facts else None
    if expected and found and expected != found:
        raise CheckpointError(
            f"ensemble member {name}: its weights ({found[:12]}) are not those the vote was found with "
            f"({expected[:12]}); run `affect-train ensemble` again"
        )
    if expected and facts is not None and not same_calibration(member.get("calibration"), facts.calibration):
        raise CheckpointError(
            f"ensemble member {name}: it is calibrated otherwise than when the vote was found; run `affect-train "
            "ensemble` again"
        )
    metrics = {key: Metric.model_validate(metric) for key, metric in member.get("metrics", {}).items()}
    return Voter(facts.name if facts else Path(name).stem, float(member["weight"]), metrics, facts, expected or found)


def _fingerprint(manifest: Mapping[str, Any], members: Sequence[Voter]) -> str | None:
    """Return the fingerprint of the backend that serves this manifest; None when a member is not fully known."""
    ballots = []
    for entry, member in zip(manifest["members"], members, strict=True):
        facts, temperature = member.facts, entry.get("temperature")
        if facts is None or facts.input is None or facts.calibration is None or temperature is None:
            return None
        identity = facts.weights_sha256 or facts.fingerprint
        weight = member.weight if manifest["vote"] == "weighted" else 1.0
        ballots.append(Ballot(identity, facts.calibration, facts.input, weight, temperature))
    return fingerprint(ballots, manifest["vote"], mirror=bool(manifest["mirror"]))


def _selection(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the members were found, without a gain that is of another vote: earlier manifests had it always."""
    selection = dict(manifest.get("selection", {}))
    complete = selection.get("keep") == "all" or len(manifest["members"]) == len(selection.get("candidates", ()))
    if manifest["vote"] != "weighted" or not complete:
        selection.pop("gain", None)
    return selection
