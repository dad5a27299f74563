"""Who is judged: a run's best weights or a backend, its answers on a split, and everything known of it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import AffectError, MediaError
from affect.inference.device import Device
from affect.pictures import load_backend
from affect.plugins import PluginHost
from affect.settings.load import load_settings
from affect_training.data import FaceData, Split
from affect_training.evaluation import metrics
from affect_training.evaluation.metrics import Floats
from affect_training.report.facts import Answers, CardFacts, Evaluation, find_facts
from affect_training.report.history import Epoch, read_log

SELECTED_ON = "PublicTest"


@dataclass(frozen=True, slots=True)
class Subject:
    """A classifier and its answers.

    Attributes:
        name: Of the backend, the weights file, or the run's folder.
        split_name: What it was asked about.
        split: The faces and labels.
        raw: Probabilities [N, 7] at temperature 1.
        served: With the temperature, as users get them.
        honest: On PublicTest, where the temperature was fitted, each half with the other's; elsewhere as served.
        temperature: Of `served`.
        facts: For the card.
        provenance: Names and values for a table.
        log: Epochs of a run; empty for a backend.
        best_epoch: Whose weights are judged.
    """

    name: str
    split_name: str
    split: Split
    raw: Floats
    served: Floats
    honest: Floats
    temperature: float
    facts: CardFacts
    provenance: dict[str, Any]
    log: tuple[Epoch, ...] = ()
    best_epoch: int | None = None


def open_subject(
    name: str, data: FaceData, split_name: str, device: str, evaluations: tuple[Evaluation, ...] = ()
) -> Subject:
    """Ask a run's best weights or a backend about a split.

    Args:
        name: The folder of a run, a registered backend, or a `.safetensors` file.
        data: The faces; for a run, those it was trained on.
        split_name: Which of its splits.
        device: `auto | cpu | cuda:N`.
        evaluations: Further figures for the card.

    Raises:
        MediaError: The data has no such split, or the split no faces, or the run saw other data.
        AffectError: The run or backend could not be opened.
    """
    split = data.split(split_name)
    if not len(split):
        raise MediaError(f"{split_name}: no faces to report on")
    if Path(name).is_dir():
        return _of_run(Path(name), data, split_name, split, device, evaluations)
    return _of_backend(name, split_name, split, device, evaluations)


def _of_run(
    folder: Path, data: FaceData, split_name: str, split: Split, device: str, evaluations: tuple[Evaluation, ...]
) -> Subject:
    from affect_training.export.weights import data_of, figures_of, licence_of, without_places
    from affect_training.predict import predict_logits
    from affect_training.run import open_run

    run = open_run(folder, data, Device(device))
    kept = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if kept["data_sha256"] != data.sha256:
        raise MediaError(
            f"{folder} was trained on data with sha256 {kept['data_sha256'][:16]}…, this is {data.sha256[:16]}…; name "
            "the data of the run"
        )
    model = run.best()
    chosen = predict_logits(model, run.validation, run.normalise, run.device)
    temperature = metrics.fit_temperature(chosen, run.validation.labels)
    logits = chosen if split_name == SELECTED_ON else predict_logits(model, split, run.normalise, run.device)
    training = {
        **without_places(kept),
        "best_epoch": run.state.best_epoch,
        "epochs": run.state.epoch,
        "minutes": round(run.state.seconds / 60, 1),
        "selection": f"epoch with the best {SELECTED_ON} {run.config.train.select}; temperature on {SELECTED_ON}",
    }
    facts = CardFacts(
        name=folder.name,
        summary=run.spec.summary,
        architecture=run.spec.architecture,
        parameters=sum(p.numel() for p in model.parameters()),
        temperature=round(temperature, 4),
        data=data_of(run.config),
        licence=licence_of(run.config),
        training=training,
        metrics=figures_of(chosen, run.validation),
        recipe=run.spec,
        answers=Answers(metrics.softmax(chosen, temperature), run.validation.labels),
        evaluations=evaluations,
    )
    log = folder / "log.csv"
    return Subject(
        name=folder.name,
        split_name=split_name,
        split=split,
        raw=metrics.softmax(logits),
        served=metrics.softmax(logits, temperature),
        honest=_honest(logits, split, split_name, temperature),
        temperature=temperature,
        facts=facts,
        provenance=training,
        log=read_log(log) if log.exists() else (),
        best_epoch=run.state.best_epoch or None,
    )


def _of_backend(name: str, split_name: str, split: Split, device: str, evaluations: tuple[Evaluation, ...]) -> Subject:
    classifier = load_backend(name, device=device)
    served = classifier.probabilities(list(split.images)).astype(np.float64)
    temperature = classifier.backend.temperature
    raw = metrics.without_temperature(served, temperature)
    host = PluginHost(load_settings().settings.plugins)
    try:
        facts = find_facts(name, host, evaluations)
    except AffectError:  # a backend need not have weights of its own: what it says of itself is all there is
        facts = CardFacts(
            name=name,
            summary=host.backends.get(name).summary if name in host.backends else "",
            input=classifier.backend.input,
            temperature=temperature,
            evaluations=evaluations,
        )
    if facts.answers is None and split_name == SELECTED_ON:
        facts = replace(facts, answers=Answers(served, split.labels))
    return Subject(
        name=facts.name,
        split_name=split_name,
        split=split,
        raw=raw,
        served=served,
        honest=_honest(np.log(np.clip(raw, 1e-45, None)), split, split_name, temperature),
        temperature=temperature,
        facts=facts,
        provenance={**facts.training, "judged_on": classifier.device.description},
    )


def _honest(logits: Floats, split: Split, split_name: str, temperature: float) -> Floats:
    if split_name == SELECTED_ON and len(split) > 1:
        return metrics.cross_fitted(logits, split.labels)
    return metrics.softmax(logits, temperature)
