"""Who is judged: a run's best weights or a backend, its answers on a split, and everything known of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import AffectError, MediaError, SettingsError
from affect.inference.backend import Backend
from affect.inference.device import Device
from affect.inference.optional import VotingBackend, WeightsBackend, calibration_of, identity_of, mirrors
from affect.pictures import load_backend
from affect.plugins import PluginHost
from affect.types import Calibration
from affect_training.data import FaceData, Split
from affect_training.evaluation import metrics
from affect_training.evaluation.calibration import calibrated, fit_calibration, uncalibrated
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.report import FITTED_ON, cross_fitted, fitted_on
from affect_training.report.facts import Answers, CardFacts, find_facts, with_evaluations
from affect_training.report.further import Further
from affect_training.report.history import Epoch, read_log
from affect_training.run_record import RunRecord
from affect_training.teachers import installed_host, names_run


@dataclass(frozen=True, slots=True)
class Subject:
    """A classifier and its answers.

    Attributes:
        name: Of the backend, the weights file, or the run's folder.
        split_name: What it was asked about.
        split: The faces and labels.
        raw: Probabilities [N, 7], uncalibrated.
        served: Calibrated, as users get them.
        honest: On PublicTest, where the calibration was fitted, each half by the other; elsewhere as served.
        calibration: Of `served`.
        facts: For the card.
        provenance: Names and values for a table.
        log: Epochs of a run; empty for a backend.
        best_epoch: Whose weights are judged.
        views: What of each face is looked at.
        fitted: The calibration was fitted on these faces.
        data: Name of the data set; None for FER2013.
    """

    name: str
    split_name: str
    split: Split
    raw: Floats
    served: Floats
    honest: Floats
    calibration: Calibration
    facts: CardFacts
    provenance: dict[str, Any]
    log: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    views: str = "single view"
    fitted: bool = False
    data: str | None = None


def open_subject(
    name: str,
    data: FaceData,
    split_name: str,
    device: str,
    evaluations: Sequence[Further] = (),
    about: str | None = None,
) -> Subject:
    """Ask a run's best weights or a backend about a split.

    Args:
        name: The folder of a run, a registered backend, a `.safetensors` file, or the manifest of an ensemble.
        data: The faces; for a run, those it was trained on.
        split_name: Which of its splits.
        device: `auto | cpu | cuda:N`.
        evaluations: Further figures for the card, of the same weights.
        about: What a run was trained on and under which licence, when that is not FER2013.

    Raises:
        MediaError: The data has no such split, or the split no faces, or the run saw other data.
        SettingsError: Figures are of other weights, or nothing is said about a run's data.
        AffectError: The run or backend could not be opened.
    """
    if names_run(name):
        return _of_run(Path(name), data, split_name, device, evaluations, about)
    if about:
        raise SettingsError(f"--about is for the folder of a run; {name} already says what it was trained on")
    return _of_backend(name, split_name, data, device, evaluations)


def _faces(data: FaceData, split_name: str) -> Split:
    split = data.split(split_name)
    if not len(split):
        raise MediaError(f"{split_name}: no faces to report on")
    return split


def _of_run(
    folder: Path, data: FaceData, split_name: str, device: str, evaluations: Sequence[Further], about: str | None
) -> Subject:
    from affect_training.export.weights import (
        data_of,
        exported_sha256,
        figures_of,
        licence_of,
        store_as,
        training_facts,
    )
    from affect_training.predict import predict_logits
    from affect_training.run import open_run

    run = open_run(folder, data, Device(device))
    split = _faces(run.data, split_name)
    record = RunRecord.read(folder)
    record.check_data(folder, data.sha256)
    seen = data_of(run.config, record.data_set, about)
    model = run.best()
    store_as(model)  # what `export` writes, and the sha256 names
    chosen = predict_logits(model, run.validation, run.normalise, run.device)
    calibration = fit_calibration(chosen, run.validation.labels)
    logits = chosen if split_name == FITTED_ON else predict_logits(model, split, run.normalise, run.device)
    training = training_facts(run, record)
    facts = CardFacts(
        name=folder.name,
        summary=run.spec.summary,
        architecture=run.spec.architecture,
        parameters=sum(p.numel() for p in model.parameters()),
        calibration=Calibration(*(round(number, 4) for number in calibration)),
        weights_sha256=exported_sha256(model),
        place=folder,
        data=seen,
        licence=licence_of(run.config, record.data_set),
        training=training,
        metrics=figures_of(chosen, run.validation),
        recipe=run.spec,
        answers=Answers(calibrated(chosen, calibration), run.validation.labels),
    )
    log = folder / "log.csv"
    raw, served = metrics.softmax(logits), calibrated(logits, calibration)
    return Subject(
        name=folder.name,
        split_name=split_name,
        split=split,
        raw=raw,
        served=served,
        honest=_honest(raw, served, split, calibration, fitted=split_name == FITTED_ON),
        calibration=calibration,
        facts=with_evaluations(facts, evaluations),
        provenance=training,
        log=read_log(log) if log.exists() else (),
        best_epoch=run.state.best_epoch or None,
        fitted=split_name == FITTED_ON,
        data=data.other_name,
    )


def _of_backend(name: str, split_name: str, data: FaceData, device: str, evaluations: Sequence[Further]) -> Subject:
    host, split = installed_host(), _faces(data, split_name)
    classifier = load_backend(name, device=device)
    facts = with_evaluations(_facts_of(name, classifier.backend, host), evaluations)
    served = classifier.probabilities(list(split.images)).astype(np.float64)
    calibration = calibration_of(classifier.backend)
    raw = uncalibrated(served, calibration)
    fitted = fitted_on(data, split_name, facts.training)
    if facts.answers is None and fitted:
        facts = replace(facts, answers=Answers(served, split.labels))
    return Subject(
        name=facts.name,
        split_name=split_name,
        split=split,
        raw=raw,
        served=served,
        honest=_honest(raw, served, split, calibration, fitted=fitted),
        calibration=calibration,
        facts=facts,
        provenance={**facts.training, "judged_on": classifier.device.description},
        views="each with its mirror image" if mirrors(classifier.backend) else "single view",
        fitted=fitted,
        data=data.other_name,
    )


def _facts_of(name: str, backend: Backend, host: PluginHost) -> CardFacts:
    """Gather what is known of an open backend.

    Raises:
        SettingsError: What would be described are other weights than those it runs with.
        AffectError: Its sidecar, manifest or answers are damaged.
    """
    identity = identity_of(backend)
    try:
        facts = find_facts(name, host, backend=backend)
    except AffectError:
        if isinstance(backend, WeightsBackend | VotingBackend):
            raise
        # A backend need not have weights of its own: what it says of itself is all there is.
        return CardFacts(
            name=name,
            summary=host.backends.get(name).summary if name in host.backends else "",
            input=backend.input,
            calibration=calibration_of(backend),
            fingerprint=identity.fingerprint,
        )
    running = identity.weights_sha256
    if running is not None and facts.weights_sha256 not in (None, running):
        raise SettingsError(
            f"{name} runs with other weights ({running[:12]}) than {facts.place} ({str(facts.weights_sha256)[:12]}), "
            "which a card would describe; name its .safetensors file"
        )
    return facts


def _honest(raw: Floats, served: Floats, split: Split, calibration: Calibration, *, fitted: bool) -> Floats:
    crossed = cross_fitted(raw[None], split.labels, fitted=fitted, power=calibration.power != 1)
    return served if crossed is None else crossed
