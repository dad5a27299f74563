"""Scores an estimator and backend on labelled faces or clips; the report is JSON with intervals over people."""

from pathlib import Path
from typing import Any

from affect.fits import backend_fit, new_estimator
from affect.labels import LearnerState
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.fit import StateFigures
from affect.version import __version__
from affect_training.learner.auc import JUDGED, figures, target
from affect_training.learner.beliefs import Sessions, beliefs, onsets_right
from affect_training.learner.labels import LabelledSet
from affect_training.learner.watch import Progress, Watcher

NOTE = (
    "A pooled AUC above the one per person is knowledge of who tends to a state, not of when: do not take it for the "
    "tutor's use. Within person is conservative: who is in a state often counts there as being high at rest. Labels "
    "are a crowd's, of whole clips."
)


def evaluate(
    data: LabelledSet,
    settings: Settings,
    host: PluginHost,
    progress: Progress,
    *,
    sessions: Sessions = "item",
    every: int = 1,
    cache: Path | None = None,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Run the service's own pipeline and learner model over a labelled set.

    Args:
        data: Faces or clips.
        settings: Backend, detector, estimator and their tables.
        host: Plugins.
        progress: Called with the number of items done since the last call.
        sessions: See `beliefs`.
        every: Of a clip, take every Nth frame.
        cache: Folder for detections.
        resamples: Of the bootstrap over people.

    Returns:
        `auc`, `auc_per_person`, `auc_within_person` and each one's `_ci95`, by state, and what was scored; of people
        in a row also `onsets`, see `onsets_right`.
    """
    seen = Watcher(settings, host, cache=cache).watch(data, progress, every=every)
    believed = beliefs(seen, data.people, settings.learner, lambda: new_estimator(settings, host), sessions=sessions)
    found = figures(believed.scores(), data.levels(), data.people, resamples=resamples)
    without = sum(all(frame.learner is None for frame in frames) for frames in seen)
    report = {**plain(found), **_facts(data, settings, host, sessions), "without_face": without}
    if sessions == "person":
        report["onsets"] = onsets_right(believed, data.levels(), data.people, resamples=resamples)
    return report


def plain(found: StateFigures) -> dict[str, Any]:
    """Return figures as JSON has them."""
    return found.model_dump(mode="json")


def _facts(data: LabelledSet, settings: Settings, host: PluginHost, sessions: Sessions) -> dict[str, Any]:
    fit = backend_fit(settings, host)
    levels = data.levels()

    def count(state: LearnerState) -> dict[str, int]:
        wanted = target(levels[state], state)
        return {
            "positive": int((wanted.positive & wanted.counts).sum()),
            "negative": int((~wanted.positive & wanted.counts).sum()),
        }

    return {
        "backend": settings.inference.backend_word,
        "estimator": settings.learner.estimator,
        "fitted": None
        if fit is None
        else {"data": fit.facts.data, "heads": fit.heads is not None and settings.learner.estimator == "fitted"},
        "split": data.split,
        "kind": data.kind,
        "data_sha256": data.sha256,
        "sessions": sessions,
        "counts": {state.value: count(state) for state in JUDGED},
        "positives": "level 2-3 against 0, level 1 left out; engagement: 3 against the rest",
        "note": NOTE,
        "version": __version__,
    }
