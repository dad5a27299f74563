"""Fits the heads: per state a ridge regression of its level 0-3, calibrated to a probability on people left out.

Four habits keep it from learning noise, and who people are instead of how they are:
- a level is a crowd's impression of one state; what the crowd said of the other states makes it a little surer
  (`reliability`);
- part of each person's mean is removed from features and levels before fitting (`within`): differences between people
  are many and hardly generalise to new ones, differences within a person are what the tutor wants to see;
- a person with n faces counts as sqrt(n);
- the calibrating logistic curve is fitted on scores of people that the ridge had not seen, so that a head that does
  not generalise ends nearly flat and says nothing.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from affect.errors import MediaError
from affect.labels import EMOTIONS, LearnerState
from affect.learner.heads import READINGS, StateHeads
from affect_training.learner.auc import JUDGED, Bools, Floats, Ints
from affect_training.learner.faces import FITTED, NEUTRAL, LabelledFaces


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How heads are fitted; the defaults were chosen on DAiSEE's train people, cross-validated by person.

    Attributes:
        reliability: Share of a level's variance that is the state, not the crowd's noise, 0-1; at 1 every state is
            judged by its own level alone.
        within: Share of a person's mean that is removed before fitting, 0-1.
        ridge: Penalty on squared weights, in variances of the embedding's first principal component.
        components: Principal components of the embedding that are used at most.
        log_probabilities, pose, eyes: Scale of the standardised readings beside the embedding, whose first component
            has 1: the smaller, the more the ridge holds their weights down.
        folds: Parts of the people, for calibration.
    """

    reliability: float = 0.5
    within: float = 0.6
    ridge: float = 0.03
    components: int = 200
    log_probabilities: float = 0.3
    pose: float = 0.3
    eyes: float = 0.5
    folds: int = 4

    def facts(self) -> dict[str, Any]:
        """Return the options for a fit's provenance."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Space:
    """Where the ridge works: features = embedding @ directions.T and scaled readings, both about their mean."""

    centre: Floats
    directions: Floats
    mean: Floats
    std: Floats
    scale: Floats

    def features(self, faces: LabelledFaces) -> Floats:
        standard = np.nan_to_num((faces.readings - self.mean) / self.std, nan=0.0) * self.scale
        return np.hstack([(faces.embedding - self.centre) @ self.directions.T, standard])


def fit_heads(faces: LabelledFaces, options: HeadOptions | None = None) -> StateHeads:
    """Fit a head for each state that labels speak of.

    Args:
        faces: Labelled faces of several people.
        options: How.

    Raises:
        MediaError: There are fewer people than calibration folds.
    """
    options = options or HeadOptions()
    space = _space(faces, options)
    features = space.features(faces)
    parts = people_folds(faces.people, options.folds)
    weights = faces.by_person()
    rows, bias, curves, rates = [], [], [], []
    levels = _surer(faces, options)
    for state in FITTED:
        level, present = levels[state], faces.present(state)
        unseen = np.empty(len(faces))
        for part in parts:
            some = np.setdiff1d(np.arange(len(faces)), part)
            w, b = _ridge(features[some], level[some], faces.people[some], options)
            unseen[part] = features[part] @ w + b
        w, b = _ridge(features, level, faces.people, options)
        rows.append(w)
        bias.append(b)
        curves.append(_logistic(unseen, present, weights))
        rates.append(np.clip(weights @ present, 1e-3, 1 - 1e-3))
    table = np.array(rows)
    used = len(space.directions)
    embedding = table[:, :used] @ space.directions
    return StateHeads(
        states=FITTED,
        embedding=embedding,
        readings=table[:, used:] * space.scale,
        mean=space.mean,
        std=space.std,
        bias=np.array(bias) - embedding @ space.centre,
        slope=np.array([slope for slope, _ in curves]),
        intercept=np.array([intercept for _, intercept in curves]),
        rate=np.array(rates),
    )


def people_folds(people: Ints, count: int) -> list[Ints]:
    """Divide rows into parts of whole people, about equally many rows each; the same parts every time.

    Raises:
        MediaError: There are fewer people than parts.
    """
    from sklearn.model_selection import GroupKFold

    there = len(np.unique(people))
    if there < count:
        raise MediaError(f"{there} people with usable faces cannot be divided into {count} parts; it takes {count}")
    return [part.astype(np.int64) for _, part in GroupKFold(count).split(people, groups=people)]


def _space(faces: LabelledFaces, options: HeadOptions) -> _Space:
    with np.errstate(invalid="ignore"):
        known = np.isfinite(faces.readings)
        count = np.maximum(known.sum(axis=0), 1)
        values = np.where(known, faces.readings, 0.0)
        mean = values.sum(axis=0) / count
        std = np.sqrt(np.where(known, (faces.readings - mean) ** 2, 0.0).sum(axis=0) / count)
    scale = np.array([_scale(name, options) for name in READINGS])
    return _Space(*_directions(faces.embedding, options.components), mean, np.where(std > 1e-9, std, 1.0), scale)


def _scale(reading: str, options: HeadOptions) -> float:
    if reading in {f"log_{emotion.value}" for emotion in EMOTIONS}:
        return options.log_probabilities
    return options.eyes if reading == "log_eye_opening" else options.pose


def _directions(embedding: Floats, components: int) -> tuple[Floats, Floats]:
    """Return the mean [D] and principal directions [C, D], all in deviations of the first component."""
    length = embedding.shape[1]
    centre = embedding.mean(axis=0)
    count = min(components, length, len(embedding) - 1)
    if count <= 0:
        return centre, np.empty((0, length))
    from sklearn.decomposition import PCA

    found = PCA(count, svd_solver="randomized", random_state=0).fit(embedding)
    return centre, np.asarray(found.components_ / np.sqrt(found.explained_variance_[0]))


def _surer(faces: LabelledFaces, options: HeadOptions) -> dict[LearnerState, Floats]:
    """Return levels [N] with part of the crowd's noise removed, by what it said of the other states.

    The best linear guess of true levels from noisy ones, when the noise of one state has nothing to do with the
    others': observed @ C^-1 (C - noise), C the covariance of levels. Neutral, made of the others, stays as it is.
    """
    table = np.column_stack([faces.level(state) for state in JUDGED])
    count = np.bincount(faces.people)
    inside = table - options.within * _means(table, faces.people, count)
    inside = inside - inside.mean(axis=0)
    covariance = inside.T @ inside / len(table) + 1e-9 * np.eye(len(JUDGED))
    noise = (1 - options.reliability) * np.diag(np.diag(covariance))
    surer = (table - table.mean(axis=0)) @ np.linalg.solve(covariance, covariance - noise)
    return {NEUTRAL: faces.level(NEUTRAL)} | {state: surer[:, k] for k, state in enumerate(JUDGED)}


def _ridge(features: Floats, level: Floats, people: Ints, options: HeadOptions) -> tuple[Floats, float]:
    """Return weights and bias; the weighted mean score is 0."""
    count = np.bincount(people)
    weights = 1 / np.sqrt(count[people])
    weights = weights / weights.sum()
    centre = weights @ features
    share = options.within
    x = features - share * _means(features, people, count)
    y = level - share * _means(level[:, None], people, count)[:, 0]
    x, y = x - weights @ x, y - weights @ y
    gram = (x * weights[:, None]).T @ x + options.ridge * np.eye(x.shape[1])
    w = np.linalg.solve(gram, (x * weights[:, None]).T @ y)
    return w, -float(centre @ w)


def _means(values: Floats, people: Ints, count: Ints) -> Floats:
    sums = np.zeros((len(count), values.shape[1]))
    np.add.at(sums, people, values)
    return np.asarray((sums / np.maximum(count, 1)[:, None])[people])


def _logistic(score: Floats, present: Bools, weights: Floats) -> tuple[float, float]:
    """Return slope and intercept of P(present | score), slope at least 0, by Newton's method."""
    y = present.astype(np.float64)
    rate = float(np.clip(weights @ y, 1e-3, 1 - 1e-3))
    flat = 0.0, float(np.log(rate / (1 - rate)))
    spread = float(np.sqrt(weights @ (score - weights @ score) ** 2))
    if spread < 1e-9:
        return flat
    x = np.column_stack([score / spread, np.ones(len(score))])
    beta = np.array(flat)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ beta)))
        gradient = x.T @ (weights * (y - p)) - np.array([1e-4, 0.0]) * beta
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag([1e-4, 1e-9])
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-9:
            break
    return (float(beta[0]) / spread, float(beta[1])) if beta[0] > 0 else flat
