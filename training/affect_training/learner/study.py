"""How well a fit carries over to people of another split, and how much that depends on who was fitted on.

Five fits, each without another fifth of the people, and one on all; each scored on the same held-out people, by every
variant. The spread of the five tells how much a fit hangs on its people, the interval how much a figure hangs on who
was held out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from affect.errors import SettingsError
from affect.learner.heads import BackendFit
from affect.settings import Settings
from affect.settings.fit import StateFigures
from affect.settings.learner import HmmSettings
from affect.types import FrameFaces
from affect_training.learner.auc import JUDGED, Ints, figures
from affect_training.learner.beliefs import beliefs
from affect_training.learner.fit import Variant, all_faces, fit_all, some_faces
from affect_training.learner.heads import HeadOptions, people_folds
from affect_training.learner.labels import LabelledSet

RUNS = 5
KINDS = ("auc", "auc_per_person", "auc_within_person")


def study(
    data: LabelledSet,
    seen: Sequence[FrameFaces],
    held_out: LabelledSet,
    held_out_seen: Sequence[FrameFaces],
    settings: Settings,
    options: HeadOptions,
    prior: float,
    variants: Sequence[Variant],
    hmm: HmmSettings,
    *,
    resamples: int = 1000,
) -> dict[str, dict[str, Any]]:
    """Fit six times on one split and score on another.

    Raises:
        SettingsError: Somebody is in both.

    Returns:
        By variant: `all`, the figures of the fit on all people with their intervals, and `runs`: by kind of AUC and
        state the mean, the least and the greatest of the five.
    """
    if both := sorted(set(data.people) & set(held_out.people)):
        raise SettingsError(
            f"{len(both)} people are in {data.split} and in {held_out.split}, {both[0]!r} for one: a fit must be "
            "judged on people that it has not seen"
        )
    _, people = np.unique(np.array(data.people), return_inverse=True)
    parts = people_folds(people.astype(np.int64), RUNS)
    everyone = np.arange(len(data))
    runs = [_fit(data, seen, np.setdiff1d(everyone, part), settings, options, prior, hmm) for part in parts]
    whole = fit_all(all_faces(data, seen, settings), options, prior, hmm).as_backend_fit()
    report = {}
    for variant in variants:
        found = [_score(held_out, held_out_seen, settings, variant, fit, 1) for fit in runs]
        best = _score(held_out, held_out_seen, settings, variant, whole, resamples)
        report[variant.name] = {
            "all": best.model_dump(mode="json"),
            "runs": {kind: _spread(found, kind) for kind in KINDS},
        }
    return report


def _fit(
    data: LabelledSet,
    seen: Sequence[FrameFaces],
    rows: Ints,
    settings: Settings,
    options: HeadOptions,
    prior: float,
    hmm: HmmSettings,
) -> BackendFit:
    return fit_all(some_faces(data, seen, rows, settings), options, prior, hmm).as_backend_fit()


def _score(
    data: LabelledSet,
    seen: Sequence[FrameFaces],
    settings: Settings,
    variant: Variant,
    fit: BackendFit,
    resamples: int,
) -> StateFigures:
    believed = beliefs(
        [[frame] for frame in seen], data.people, settings.learner, variant.create(fit), sessions=variant.sessions
    )
    return figures(believed.scores(), data.levels(), data.people, resamples=resamples)


def _spread(found: Sequence[StateFigures], kind: str) -> dict[str, dict[str, float]]:
    spread = {}
    for state in JUDGED:
        values = [value for one in found if (value := getattr(one, kind)[state]) is not None]
        if values:
            spread[state.value] = {
                "mean": round(float(np.mean(values)), 5),
                "least": min(values),
                "greatest": max(values),
            }
    return spread
