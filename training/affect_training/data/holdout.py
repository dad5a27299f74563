"""A validation split for data that come without one: Kaggle's folders `train` and `test`, RAF-DB."""

from dataclasses import replace

import numpy as np

from affect.errors import SettingsError
from affect_training.data.faces import SPLITS, FaceData, IndexArray

_SEED = 0


def hold_out(data: FaceData, share: float) -> FaceData:
    """Move a share of Training to PublicTest, the same share of every class.

    The draw is the same for all runs over the data, whatever their seeds: they are judged on the same faces. It knows
    faces, not people: where one person has many pictures, some land on either side, and the figures flatter.

    Args:
        data: Faces with Training and without PublicTest.
        share: Between 0 and 1; 0 leaves the data as they are.

    Raises:
        SettingsError: The data have a PublicTest, or the share is too small for a single face.
        MediaError: They have no Training.
    """
    if share == 0:
        return data
    training, held = SPLITS[:2]
    if held in data.splits:
        raise SettingsError(f"data.holdout: {data.path or 'the data'} has a split {held}; set data.holdout = 0")
    split = data.split(training)
    chosen = _draw(split.labels, share)
    if not len(chosen):
        raise SettingsError(f"data.holdout: {share} of {len(split)} faces holds out no face of any class; raise it")
    kept = np.setdiff1d(np.arange(len(split), dtype=np.int64), chosen)
    splits = {training: split.take(kept), held: split.take(chosen)}
    return replace(
        data,
        splits={**splits, **{name: other for name, other in data.splits.items() if name != training}},
        blank={**data.blank, held: 0},
    )


def _draw(labels: IndexArray, share: float) -> IndexArray:
    """Return that share of each class as indices, sorted."""
    rng = np.random.default_rng(_SEED)
    parts = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        parts.append(members[: round(share * len(members))])
    return np.sort(np.concatenate(parts)).astype(np.int64)
