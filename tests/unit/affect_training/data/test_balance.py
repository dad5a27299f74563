import numpy as np
import pytest
from affect_training.data import Split
from affect_training.data.balance import Balance, balanced_split, class_weights, oversample, smote, smote_tomek
from sklearn.utils.class_weight import compute_class_weight

from affect.errors import SettingsError

COUNTS = (12, 7, 9, 30, 0, 8, 20)


@pytest.fixture
def split() -> Split:
    """Faces whose grey level tells their class, nearly; no sad ones."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(7, dtype=np.int64), COUNTS)
    images = np.clip(labels[:, None, None] * 30 + rng.integers(0, 40, (len(labels), 48, 48)), 0, 255).astype(np.uint8)
    order = rng.permutation(len(labels))
    return Split(
        images[order],
        labels[order],
        np.arange(len(labels), dtype=np.int64) + 100,
        votes=np.full((len(labels), 7), 1 / 7, np.float32),
        weights=(labels[order] / 4 + 0.5).astype(np.float32),
    )


def test_weights_are_those_of_scikit_learn(split: Split) -> None:
    present = np.unique(split.labels)
    expected = compute_class_weight("balanced", classes=present, y=split.labels)
    weights = class_weights(split.labels)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[present], expected, rtol=1e-6)
    assert weights[4] == 0
    assert (weights[split.labels]).mean() == pytest.approx(1)
    assert class_weights(split.labels, "none").tolist() == [1] * 7


def test_oversampling_repeats_until_classes_are_equal(split: Split) -> None:
    index = oversample(split.labels, seed=3)
    assert index[: len(split)].tolist() == list(range(len(split)))
    assert np.bincount(split.labels[index], minlength=7).tolist() == [30, 30, 30, 30, 0, 30, 30]
    np.testing.assert_array_equal(index, oversample(split.labels, seed=3))
    assert (index != oversample(split.labels, seed=4)).any()


def test_smote_interpolates_within_a_class(split: Split) -> None:
    made = smote(split, seed=1)
    assert np.bincount(made.labels, minlength=7).tolist() == [30, 30, 30, 30, 0, 30, 30]
    own = made.take(made.rows >= 0)
    np.testing.assert_array_equal(own.images, split.images)
    np.testing.assert_array_equal(own.rows, split.rows)
    new = made.take(made.rows < 0)
    for label in np.unique(new.labels):
        old = split.images[split.labels == label]
        faces = new.images[new.labels == label]
        assert (faces >= old.min(axis=0)).all()
        assert (faces <= old.max(axis=0)).all()
    assert new.votes is not None
    assert not new.votes.any()
    assert new.weights is not None
    np.testing.assert_allclose(new.weights, new.labels / 4 + 0.5)


def test_smote_tomek_drops_links_between_classes(split: Split) -> None:
    stranger = Split(split.images[:1] + 1, (split.labels[:1] + 1) % 7, np.array([7], np.int64))
    plain = split.join(stranger)
    made = smote_tomek(plain, seed=2)
    assert 7 not in made.rows.tolist()
    assert int(split.rows[0]) not in made.rows.tolist()
    assert len(made) < len(smote(plain, seed=2))
    kept = made.take(made.rows >= 0)
    np.testing.assert_array_equal(kept.images, split.images[np.isin(split.rows, kept.rows)])
    np.testing.assert_array_equal(kept.labels, split.labels[np.isin(split.rows, kept.rows)])


@pytest.mark.parametrize("kind", ["none", "oversample", "smote", "smotetomek"])
def test_the_same_seed_gives_the_same_faces(split: Split, kind: Balance) -> None:
    one, other = balanced_split(split, kind, 5), balanced_split(split, kind, 5)
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
    if kind == "none":
        assert one is split
    else:
        assert (balanced_split(split, kind, 6).images[len(split) :] != one.images[len(split) :]).any()


@pytest.mark.parametrize("kind", ["smote", "smotetomek"])
def test_too_few_faces_of_a_class_are_told(split: Split, kind: Balance) -> None:
    few = split.take(np.flatnonzero((split.labels != 1) | (np.cumsum(split.labels == 1) <= 5)))
    with pytest.raises(SettingsError, match="SMOTE needs more than 5 faces of a class, disgust has 5"):
        balanced_split(few, kind)


def test_one_class_alone_is_balanced(split: Split) -> None:
    alone = split.take(split.labels == 3)
    assert len(balanced_split(alone, "smote")) == 30
    assert len(balanced_split(alone, "oversample")) == 30


def test_an_unknown_method_is_told(split: Split) -> None:
    with pytest.raises(SettingsError, match="balance: expected none, oversample, smote, smotetomek, got 'adasyn'"):
        balanced_split(split, "adasyn")  # type: ignore[arg-type]
