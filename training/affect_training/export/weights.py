"""From a run to what the service loads: safetensors, sidecar, and the predictions on PublicTest."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import nn

from affect.errors import SettingsError
from affect.inference.checkpoint import InputSpec, Metric, Sidecar, save_checkpoint, weights_bytes
from affect.labels import EMOTIONS
from affect.vision.geometry import FER2013_CROP
from affect_training.config import RunConfig
from affect_training.data import SIDE, Split
from affect_training.data.faces import FER2013
from affect_training.evaluation import metrics
from affect_training.evaluation.calibration import calibrated, cross_fitted, fit_calibration
from affect_training.predict import predict_logits
from affect_training.run_record import DataSet, RunRecord

if TYPE_CHECKING:
    from affect_training.run import Run

DATA = "FER2013 (Goodfellow et al. 2013) Training split; selected on PublicTest. Research licence of the data set."
LICENCE = "MIT for the weights file; FER2013 itself is for research"
SPLIT = "PublicTest"


def export(run: "Run", weights: Path, *, data: str | None = None, licence: str | None = None) -> Sidecar:
    """Write the run's best network.

    Temperature and power are fitted on all of PublicTest; NLL and ECE are cross-fitted: each half of PublicTest is
    calibrated by the other. All figures are of the weights as stored, single view.

    Args:
        run: A run with a best epoch.
        weights: Where the safetensors file goes; sidecar and predictions go beside it.
        data: What the weights have seen and under which terms, in words; told from the run when not given, which takes
            FER2013.
        licence: Terms of the weights file; likewise.

    Raises:
        MediaError: The run was trained on other data than it was opened with.
        SettingsError: The run was trained on other data than FER2013, and `data` does not say what they are.
        CheckpointError: The run has no record or no best epoch yet, or a file cannot be written; what was there is
            intact.
    """
    record = RunRecord.read(run.folder)
    record.check_data(run.folder, run.data.sha256)
    described = {
        "data": data_of(run.config, record.data_set, data),
        "licence": licence or licence_of(run.config, record.data_set),
    }
    model = run.best()
    dtype = store_as(model)
    split = run.validation
    logits = predict_logits(model, split, run.normalise, run.device)
    calibration = fit_calibration(logits, split.labels)
    predictions = f"{weights.stem}.publictest.safetensors"
    answers: dict[str, NDArray[Any]] = {
        "probabilities": calibrated(logits, calibration).astype(np.float16),
        "labels": split.labels.astype(np.uint8),
    }
    return save_checkpoint(
        weights,
        model.state_dict(),
        dtype=dtype,
        beside={predictions: save(answers)},
        architecture=run.spec.architecture,
        arguments=dict(run.config.model),
        parameters=sum(p.numel() for p in model.parameters()),
        input=InputSpec(
            size=SIDE,
            channels=1,
            mean=(round(run.normalise.mean, 6),),
            std=(round(run.normalise.std, 6),),
            crop=FER2013_CROP,
        ),
        temperature=round(calibration.temperature, 4),
        power=round(calibration.power, 4),
        metrics=figures_of(logits, split),
        training=training_facts(run, record),
        predictions=predictions,
        **described,
    )


def exported_sha256(model: nn.Module) -> str:
    """Return the sha256 of the weights file that `export` makes of a network; the network stays as it is."""
    state = model.state_dict()
    return hashlib.sha256(weights_bytes(state, _dtype(state))).hexdigest()


def store_as(model: nn.Module) -> torch.dtype:
    """Round a network's weights, in place, to what is stored: float16, or float32 when a value is too large for it."""
    state = model.state_dict()
    dtype = _dtype(state)
    if dtype is torch.float16:
        model.load_state_dict({name: t.half().float() if t.is_floating_point() else t for name, t in state.items()})
    return dtype


def _dtype(state: Mapping[str, torch.Tensor]) -> torch.dtype:
    fits = all(bool(t.half().isfinite().all()) for t in state.values() if t.is_floating_point())
    return torch.float16 if fits else torch.float32


def figures_of(logits: metrics.Floats, split: Split) -> dict[str, Metric]:
    """Return the figures a sidecar carries, from logits [N, 7] of PublicTest.

    Accuracy and the recall of each emotion come with their intervals. `ece_uncalibrated` is before the calibration,
    `nll` and `ece` are cross-fitted, `nll_half` and `ece_half` are of the odd rows as calibrated by the even ones.
    """
    labels = split.labels
    before, crossed = metrics.softmax(logits), cross_fitted(logits, labels, power=True)
    odd = np.arange(len(labels)) % 2 == 1
    held_out = crossed[odd]  # calibrated by the even rows
    right = before.argmax(1) == labels
    recalls = {e.value: right[labels == k] for k, e in enumerate(EMOTIONS) if (labels == k).any()}

    def metric(value: float, n: int = len(labels), ci95: tuple[float, float] | None = None) -> Metric:
        return Metric(value=round(float(value), 5), ci95=ci95, split=SPLIT, n=n)

    return {
        "accuracy": metric(right.mean(), ci95=metrics.bootstrap_ci95(right)),
        "macro_f1": metric(metrics.macro_f1(before, labels)),
        "macro_recall": metric(float(np.mean([hits.mean() for hits in recalls.values()]))),
        "nll": metric(metrics.nll(crossed, labels)),
        "ece": metric(metrics.ece(crossed, labels)),
        "ece_uncalibrated": metric(metrics.ece(before, labels)),
        "nll_half": metric(metrics.nll(held_out, labels[odd]), int(odd.sum())),
        "ece_half": metric(metrics.ece(held_out, labels[odd]), int(odd.sum())),
        **{
            f"recall_{name}": metric(hits.mean(), len(hits), metrics.bootstrap_ci95(hits))
            for name, hits in recalls.items()
        },
    }


def data_of(config: RunConfig, data_set: DataSet | None, about: str | None = None) -> str:
    """Say what the weights of a run have seen.

    Args:
        config: Of the run.
        data_set: Of its record; None is FER2013.
        about: What the user says of the data and their licence. Of FER2013 it replaces our own words; of other data it
            is what we know beside the name.

    Raises:
        SettingsError: Other data than FER2013, and nothing is said about them.
    """
    name = _foreign(data_set)
    if about and name is None:
        return about
    if name is not None and not about:
        raise SettingsError(
            f"the run was trained on {name!r}, not on FER2013; say what that is and under which licence: --about TEXT"
        )
    parts = [DATA if name is None else f"{name}: {about}".rstrip(".") + "."]
    if config.data.votes and config.train.votes_weight > 0:
        parts.append("FER+ votes (Barsoum et al. 2016) of the same faces.")
    if config.data.aux:
        parts.append(f"Auxiliary faces: {', '.join(config.data.aux)}.")
    if config.train.teacher:
        parts.append(f"Taught by: {', '.join(_bare(name) for name in config.train.teacher)}.")
    if config.init != "none":
        parts.append(f"Started from: {_bare(config.init)}.")
    return " ".join(parts)


def licence_of(config: RunConfig, data_set: DataSet | None) -> str:
    """Say under which terms the weights of a run are, as far as the run can know."""
    name = _foreign(data_set)
    foreign = [
        *([f"the faces of {name}"] if name is not None else []),
        *(["the auxiliary sets"] if config.data.aux else []),
        *(["the starting weights"] if config.init != "none" else []),
        *(["the teachers"] if config.train.teacher else []),
    ]
    ours = LICENCE if name is None else "MIT for the weights file"
    return ours + (f"; {' and '.join(foreign)} have terms of their own" if foreign else "")


def _foreign(data_set: DataSet | None) -> str | None:
    """Return the name of the data set when it is not FER2013."""
    if data_set is None or data_set.kind in FER2013:
        return None
    return _bare(data_set.name or data_set.kind)


def training_facts(run: "Run", record: RunRecord) -> dict[str, Any]:
    """Return what is told of the training of a run's best weights: its record, how far it came, what was selected."""
    return {
        **without_places(record),
        "best_epoch": run.state.best_epoch,
        "epochs": run.state.epoch,
        "finished": run.finished,
        "minutes": round(run.state.seconds / 60, 1),
        "selection": f"epoch with the best {SPLIT} {run.config.train.select}; calibration on {SPLIT}, NLL and ECE "
        "cross-fitted in halves (*_half: calibrated by the even rows, figure of the odd ones)",
    }


def without_places(record: RunRecord) -> dict[str, Any]:
    """Return the facts of a run but for where things lie on its machine: the sidecar travels."""
    facts = record.model_dump(exclude={"aux"}, exclude_unset=True)  # what an older run did not note is not made up
    config = facts["config"]
    train = {**config["train"], "teacher": [_bare(name) for name in config["train"].get("teacher", [])]}
    return {**facts, "config": {**config, "init": _bare(config.get("init", "none")), "train": train}}


def _bare(place: str) -> str:
    """Return the last part of `FOLDER/FILE` or `SCHEME:FOLDER/FILE`."""
    scheme, colon, rest = place.partition(":")
    return f"{scheme}:{Path(rest).name}" if colon else Path(place).name
