"""What is known of a classifier, gathered from where it lies: weights with a sidecar, an ensemble's manifest, a run.

Figures come from the sidecar, from the PublicTest answers beside it, and from the JSON files of
`affect-train evaluate`. Nothing is loaded and nothing is run here but files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from affect.errors import CheckpointError, SettingsError
from affect.inference.checkpoint import InputSpec, Metric, Sidecar, load_sidecar
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect.settings.fit import LearnerFit
from affect_training.evaluation.adversarial import Adversarial
from affect_training.evaluation.groups import GroupReport
from affect_training.evaluation.metrics import Floats, Labels
from affect_training.evaluation.report import Interval, SingleView
from affect_training.evaluation.robustness import Robustness


class Evaluation(BaseModel):
    """What is used of a JSON file of `affect-train evaluate`; `source` is the name of the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    source: str
    backend: str
    split: str
    tta: str
    n: int
    accuracy: float
    accuracy_ci95: Interval
    macro_f1: float
    macro_recall: float
    ece: float
    nll: float
    single_view: SingleView | None = None
    robustness: Robustness | None = None
    adversarial: Adversarial | None = None
    groups: GroupReport | None = None


def read_evaluation(path: Path) -> Evaluation:
    """Read a JSON file of `affect-train evaluate`.

    Raises:
        SettingsError: No such file, or it is none; names file and field.
    """
    try:
        return Evaluation.model_validate({**json.loads(path.read_text(encoding="utf-8")), "source": path.name})
    except (OSError, ValueError, TypeError) as exc:
        if isinstance(exc, ValidationError):
            first = exc.errors()[0]
            why = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        else:
            why = str(exc)
        raise SettingsError(f"{path}: expected a JSON file of `affect-train evaluate --json` ({why})") from exc


@dataclass(frozen=True, slots=True)
class Answers:
    """Calibrated probabilities [N, 7] and labels [N] of PublicTest."""

    probabilities: Floats
    labels: Labels


@dataclass(frozen=True, slots=True)
class Voter:
    """A member of an ensemble: name, weight in the vote, figures of the vote of all members up to this one."""

    name: str
    weight: float
    metrics: Mapping[str, Metric]
    facts: "CardFacts | None" = None


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything a model card may say.

    Attributes:
        name: What to call it.
        summary: In a sentence; empty when unknown.
        architecture, parameters, megabytes, input, temperature, weights_sha256: None when there is no such thing.
        data, licence: In words.
        training: As in the sidecar: configuration, faces, versions, commit, best epoch, minutes.
        metrics: Figures with their split, number of faces and interval.
        recipe: What it was trained by, when a plugin registers that.
        answers: On PublicTest.
        learner: What was fitted on these weights to read learner states.
        members: Of an ensemble.
        vote: How those vote; empty otherwise.
        evaluations: Further figures.
    """

    name: str
    summary: str = ""
    architecture: str | None = None
    parameters: int | None = None
    megabytes: float | None = None
    input: InputSpec | None = None
    temperature: float | None = None
    weights_sha256: str | None = None
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

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration of the run; empty when unknown."""
        found = self.training.get("config")
        return found if isinstance(found, Mapping) else {}


def find_facts(name: str, host: PluginHost, evaluations: Sequence[Evaluation] = ()) -> CardFacts:
    """Gather the facts of a registered backend, a weights file, or an ensemble's manifest.

    Args:
        name: Of the backend, or a path that ends in `.safetensors` or `.json`.
        host: The plugins, for summaries and recipes.
        evaluations: Further figures.

    Raises:
        SettingsError: The backend has no weights file of its own, or the manifest is none.
        PluginError: No such backend.
        CheckpointError: There is no sidecar, or it is damaged.
    """
    if name.endswith(".json"):
        return _of_manifest(Path(name), host, tuple(evaluations))
    weights = host.weights_of(name)
    if weights is None:
        raise SettingsError(
            f"backend {name!r} has no weights file of its own; for an ensemble, name its manifest (…/members.json)"
        )
    registered = not name.endswith(".safetensors")
    summary = host.backends.get(name).summary if registered else ""
    return of_weights(name if registered else weights.stem, weights, host, summary, tuple(evaluations))


def of_weights(
    name: str, weights: Path, host: PluginHost, summary: str = "", evaluations: tuple[Evaluation, ...] = ()
) -> CardFacts:
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
        temperature=sidecar.temperature,
        weights_sha256=sidecar.weights_sha256,
        data=sidecar.data,
        licence=sidecar.licence,
        training=sidecar.training,
        metrics=sidecar.metrics,
        recipe=recipe,
        answers=_answers(weights, sidecar),
        learner=sidecar.learner,
        evaluations=evaluations,
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


def _of_manifest(path: Path, host: PluginHost, evaluations: tuple[Evaluation, ...]) -> CardFacts:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        members = tuple(_voter(member, path.parent, host) for member in manifest["members"])
        metrics = {name: Metric.model_validate(metric) for name, metric in manifest.get("metrics", {}).items()}
        vote = f"{manifest['vote']} vote" + (", each face and its mirror image" if manifest["mirror"] else "")
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise SettingsError(f"{path}: expected a manifest of `affect-train ensemble` ({exc!r})") from exc
    known = [member.facts for member in members if member.facts is not None]
    sizes = [facts.megabytes for facts in known if facts.megabytes is not None]
    whole = len(known) == len(members)
    name = path.parent.parent.name if path.stem == "members" else path.stem
    return CardFacts(
        name=name.removeprefix("affect_") if path.stem == "members" else name,
        summary=f"{len(members)} members, {vote}",
        parameters=sum(facts.parameters or 0 for facts in known) if whole else None,
        megabytes=sum(sizes) if whole else None,
        input=known[0].input if known else None,
        data="\n\n".join(dict.fromkeys(f"{facts.name}: {facts.data}" for facts in known if facts.data)),
        licence="\n\n".join(dict.fromkeys(facts.licence for facts in known if facts.licence)),
        training={"selection": manifest.get("selection", {})},
        metrics=metrics,
        members=members,
        vote=vote,
        evaluations=evaluations,
    )


def _voter(member: Mapping[str, Any], folder: Path, host: PluginHost) -> Voter:
    name = member.get("backend") or str(folder / member["file"])
    try:
        facts = find_facts(name, host)
    except (SettingsError, CheckpointError):
        facts = None
    metrics = {key: Metric.model_validate(metric) for key, metric in member.get("metrics", {}).items()}
    return Voter(facts.name if facts else Path(name).stem, float(member["weight"]), metrics, facts)
