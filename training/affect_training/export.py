"""From a finished run to what the service loads: safetensors, sidecar, and the validation predictions."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from affect.inference.checkpoint import InputSpec, Metric, Sidecar, save_checkpoint
from affect.vision.geometry import FER2013_CROP
from affect_training import metrics
from affect_training.data import SIDE
from affect_training.train import Run, predict_logits

DATA = "FER2013 (Goodfellow et al. 2013) Training split; selected on PublicTest. Research licence of the data set."


def export(run: Run, weights: Path) -> Sidecar:
    """Write the run's best network.

    The temperature is fitted on all of PublicTest; NLL and ECE are cross-fitted: each half of PublicTest is judged
    with the temperature of the other. The accuracy is of the stored (fp16) weights, single view.

    Args:
        run: A run with a `best.pt`.
        weights: Where the safetensors file goes; sidecar and predictions go beside it.
    """
    model = run.best()
    half = {name: t.half().float() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    model.load_state_dict(half)
    split = run.validation
    logits = predict_logits(model, split, run.normalise, run.device)
    temperature = metrics.fit_temperature(logits, split.labels)
    before, after = metrics.softmax(logits), metrics.softmax(logits, temperature)
    crossed = metrics.cross_fitted(logits, split.labels)
    right = after.argmax(1) == split.labels
    name = "PublicTest"

    def metric(value: float, ci95: tuple[float, float] | None = None) -> Metric:
        return Metric(value=round(value, 5), ci95=ci95, split=name, n=len(split))

    figures = {
        "accuracy": metric(float(right.mean()), metrics.bootstrap_ci95(right)),
        "macro_f1": metric(metrics.macro_f1(after, split.labels)),
        "nll": metric(metrics.nll(crossed, split.labels)),
        "ece": metric(metrics.ece(crossed, split.labels)),
        "ece_uncalibrated": metric(metrics.ece(before, split.labels)),
    }
    predictions = weights.with_name(f"{weights.stem}.publictest.safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({"probabilities": after.astype(np.float16), "labels": split.labels.astype(np.uint8)}, predictions)
    facts = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    return save_checkpoint(
        weights,
        half,
        dtype=torch.float16,
        architecture=run.architecture,
        parameters=sum(p.numel() for p in model.parameters()),
        input=InputSpec(
            size=SIDE,
            channels=1,
            mean=(round(run.normalise.mean, 6),),
            std=(round(run.normalise.std, 6),),
            crop=FER2013_CROP,
        ),
        temperature=round(temperature, 4),
        metrics=figures,
        training={
            **facts,
            "best_epoch": run.state.best_accuracy_epoch,
            "epochs": run.state.epoch,
            "minutes": round(run.state.seconds / 60, 1),
            "selection": "epoch with the best PublicTest accuracy; temperature on PublicTest, ECE cross-fitted",
        },
        data=DATA,
        licence="MIT for the weights file; FER2013 itself is for research",
        predictions=predictions.name,
    )
