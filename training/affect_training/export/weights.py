"""From a run to what the service loads: safetensors, sidecar, and the predictions on PublicTest."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from affect.errors import MediaError
from affect.inference.checkpoint import InputSpec, Metric, Sidecar, save_checkpoint
from affect.labels import EMOTIONS
from affect.vision.geometry import FER2013_CROP
from affect_training.config import RunConfig
from affect_training.data import SIDE, Split
from affect_training.evaluation import metrics
from affect_training.predict import predict_logits

if TYPE_CHECKING:
    from affect_training.run import Run

DATA = "FER2013 (Goodfellow et al. 2013) Training split; selected on PublicTest. Research licence of the data set."
LICENCE = "MIT for the weights file; FER2013 itself is for research"
SPLIT = "PublicTest"


def export(run: "Run", weights: Path, *, data: str | None = None, licence: str | None = None) -> Sidecar:
    """Write the run's best network.

    The temperature is fitted on all of PublicTest; NLL and ECE are cross-fitted: each half of PublicTest is judged
    with the temperature of the other. All figures are of the weights as stored, single view.

    Args:
        run: A run with a best epoch.
        weights: Where the safetensors file goes; sidecar and predictions go beside it.
        data: What the weights have seen, in words; told from the run's configuration when not given.
        licence: Terms of the weights file; likewise.

    Raises:
        MediaError: The run was trained on other data than it was opened with.
        CheckpointError: The run has no best epoch yet.
    """
    facts = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    if facts["data_sha256"] != run.data.sha256:
        raise MediaError(
            f"{run.folder} was trained on data with sha256 {facts['data_sha256'][:16]}…, this is "
            f"{run.data.sha256[:16]}…; name the data of the run"
        )
    model = run.best()
    dtype = store_as(model)
    split = run.validation
    logits = predict_logits(model, split, run.normalise, run.device)
    temperature = metrics.fit_temperature(logits, split.labels)
    predictions = weights.with_name(f"{weights.stem}.publictest.safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "probabilities": metrics.softmax(logits, temperature).astype(np.float16),
            "labels": split.labels.astype(np.uint8),
        },
        predictions,
    )
    return save_checkpoint(
        weights,
        model.state_dict(),
        dtype=dtype,
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
        temperature=round(temperature, 4),
        metrics=figures_of(logits, split),
        training={
            **without_places(facts),
            "best_epoch": run.state.best_epoch,
            "epochs": run.state.epoch,
            "minutes": round(run.state.seconds / 60, 1),
            "selection": f"epoch with the best {SPLIT} {run.config.train.select}; temperature on {SPLIT}, NLL and ECE "
            "cross-fitted in halves (*_half: temperature of the even rows, figure of the odd ones)",
        },
        data=data or data_of(run.config),
        licence=licence or licence_of(run.config),
        predictions=predictions.name,
    )


def store_as(model: nn.Module) -> torch.dtype:
    """Round a network's weights, in place, to what is stored: float16, or float32 when a value is too large for it."""
    state = model.state_dict()
    floating = {name: t for name, t in state.items() if t.is_floating_point()}
    if not all(bool(t.half().isfinite().all()) for t in floating.values()):
        return torch.float32
    model.load_state_dict({**state, **{name: t.half().float() for name, t in floating.items()}})
    return torch.float16


def figures_of(logits: metrics.Floats, split: Split) -> dict[str, Metric]:
    """Return the figures a sidecar carries, from logits [N, 7] of PublicTest.

    Accuracy and the recall of each emotion come with their intervals. `ece_uncalibrated` is without a temperature,
    `nll` and `ece` are cross-fitted, `nll_half` and `ece_half` are of the odd rows with the even rows' temperature.
    """
    labels = split.labels
    before, crossed = metrics.softmax(logits), metrics.cross_fitted(logits, labels)
    odd = np.arange(len(labels)) % 2 == 1
    held_out = crossed[odd]  # scaled by the temperature of the even rows
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


def data_of(config: RunConfig) -> str:
    """Say what the weights of a run have seen."""
    parts = [DATA]
    if config.data.votes:
        parts.append("FER+ votes (Barsoum et al. 2016) of the same faces.")
    if config.data.aux:
        parts.append(f"Auxiliary faces: {', '.join(config.data.aux)}.")
    if config.train.teacher:
        parts.append(f"Taught by: {', '.join(_bare(name) for name in config.train.teacher)}.")
    if config.init != "none":
        parts.append(f"Started from: {_bare(config.init)}.")
    return " ".join(parts)


def licence_of(config: RunConfig) -> str:
    """Say under which terms the weights of a run are, as far as the run can know."""
    foreign = [
        *(["the auxiliary sets"] if config.data.aux else []),
        *(["the starting weights"] if config.init != "none" else []),
        *(["the teachers"] if config.train.teacher else []),
    ]
    return LICENCE + (f"; {' and '.join(foreign)} have terms of their own" if foreign else "")


def without_places(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out where things lie on the machine of the run: the sidecar travels."""
    config = facts["config"]
    train = {**config["train"], "teacher": [_bare(name) for name in config["train"].get("teacher", [])]}
    kept = {key: value for key, value in facts.items() if key != "aux"}
    return {**kept, "config": {**config, "init": _bare(config.get("init", "none")), "train": train}}


def _bare(place: str) -> str:
    """Return the last part of `FOLDER/FILE` or `SCHEME:FOLDER/FILE`."""
    scheme, colon, rest = place.partition(":")
    return f"{scheme}:{Path(rest).name}" if colon else Path(place).name
