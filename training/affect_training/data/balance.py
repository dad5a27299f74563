"""Against unequal classes: weights, repeated faces, interpolated faces (SMOTE), and these without Tomek links."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from affect.errors import SettingsError
from affect.labels import EMOTIONS
from affect.types import ByteArray, FloatArray
from affect_training.data.faces import SIDE, IndexArray, Split

log = logging.getLogger(__name__)

Balance = Literal["none", "oversample", "smote", "smotetomek"]


def class_weights(labels: IndexArray, kind: Literal["none", "balanced"] = "balanced") -> FloatArray:
    """Return the weight of each class in the loss, float32 [7].

    `balanced` is n / (k * count) as in scikit-learn (King & Zeng 2001), k being the number of classes that occur; a
    class that does not occur has weight 0.
    """
    if kind == "none":
        return np.ones(len(EMOTIONS), np.float32)
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)


def oversample(labels: IndexArray, seed: int = 0) -> IndexArray:
    """Return indices, all faces first and then repeats drawn at random until every class is as large as the largest."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    parts = [np.arange(len(labels), dtype=np.int64)]
    for label in np.flatnonzero(counts):
        parts.append(rng.choice(np.flatnonzero(labels == label), counts.max() - counts[label]))
    return np.concatenate(parts)


def smote(split: Split, seed: int = 0, neighbours: int = 5) -> Split:
    """Add faces between a face and one of its nearest of the same class until the classes are equal (Chawla 2002).

    FER2013's Training grows from 28,697 to 50,498 faces in 13 s of one core, with 1.6 GB at the peak.

    Args:
        split: Faces; every class that occurs needs more than `neighbours` of them.
        seed: The same seed gives the same faces.
        neighbours: Nearest faces among which one is drawn.

    Returns:
        The split with interpolated faces after its own: `rows` are -1, no vote counts, group "";
        weights, where the split has them, are their class's mean.

    Raises:
        SettingsError: A class has too few faces.
    """
    return _resample(split, _smote(split, seed, neighbours))


def smote_tomek(split: Split, seed: int = 0, neighbours: int = 5) -> Split:
    """`smote`, then drop both faces of every Tomek link (Batista 2004): nearest to each other, of different classes.

    The nearest neighbour of every face is searched among all, by brute force in 2304 dimensions: time grows with the
    square of the faces (8,000 faces: 24 s of one core; all of FER2013's Training: about 5 minutes), memory does not.

    Raises:
        SettingsError: A class has too few faces.
    """
    from imblearn.combine import SMOTETomek
    from imblearn.under_sampling import TomekLinks

    both = SMOTETomek(
        random_state=seed, smote=_smote(split, seed, neighbours), tomek=TomekLinks(sampling_strategy="all")
    )
    return _resample(split, both)


def _smote(split: Split, seed: int, neighbours: int) -> Any:
    from imblearn.over_sampling import SMOTE

    counts = np.bincount(split.labels, minlength=len(EMOTIONS))
    for label in np.flatnonzero((counts > 0) & (counts <= neighbours)):
        raise SettingsError(
            f"balance: SMOTE needs more than {neighbours} faces of a class, {EMOTIONS[label]} has {counts[label]}; "
            "use balance = oversample"
        )
    return SMOTE(random_state=seed, k_neighbors=neighbours)


def _resample(split: Split, sampler: Any) -> Split:
    """Run a sampler of imbalanced-learn on the pixels; keep all fields of the faces it keeps."""
    if len(np.unique(split.labels)) < 2:
        return split
    pixels, labels = sampler.fit_resample(split.images.reshape(len(split), -1).astype(np.float32), split.labels)
    # Both samplers put the faces they were given first and new ones after; Tomek's then names those it leaves.
    tomek = getattr(sampler, "tomek_", None)
    index = np.arange(len(labels)) if tomek is None else np.asarray(tomek.sample_indices_)
    new = index >= len(split)
    images: ByteArray = np.clip(np.rint(pixels[new]), 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    made = Split(
        images,
        np.asarray(labels[new], np.int64),
        np.full(int(new.sum()), -1, np.int64),
        weights=None if split.weights is None else _mean_weights(split.labels, split.weights)[labels[new]],
    )
    return split.take(index[~new]).join(made)


def _mean_weights(labels: IndexArray, weights: FloatArray) -> FloatArray:
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    sums = np.bincount(labels, weights=weights, minlength=len(EMOTIONS))
    return np.asarray(sums / np.maximum(counts, 1), np.float32)


def balanced_split(split: Split, kind: Balance, seed: int = 0) -> Split:
    """Return a split balanced as `train.balance` says."""
    methods: dict[str, Callable[[], Split]] = {
        "none": lambda: split,
        "oversample": lambda: split.take(oversample(split.labels, seed)),
        "smote": lambda: smote(split, seed),
        "smotetomek": lambda: smote_tomek(split, seed),
    }
    if kind not in methods:
        raise SettingsError(f"balance: expected {', '.join(methods)}, got {kind!r}")
    if kind != "none":
        log.info("balancing %d faces: %s", len(split), kind)
    return methods[kind]()
