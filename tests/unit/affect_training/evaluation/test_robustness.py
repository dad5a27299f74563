import numpy as np
import pytest
from affect_training.data import Split
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.robustness import (
    CORRUPTIONS,
    darken,
    flatten,
    jpeg,
    occlude,
    robustness,
    rotate,
    sample,
)

from affect.errors import MediaError
from affect.pictures import FaceClassifier
from affect.types import ByteArray


def dice() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def pictures() -> ByteArray:
    """Smooth pictures with structure, which every corruption must change."""
    y, x = np.mgrid[0:48, 0:48]
    waves = [128 + 60 * np.sin(x / (3 + k)) * np.cos(y / (5 + k)) + x / 2 for k in range(6)]
    return np.stack(waves).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pictures_get_worse_with_severity_and_are_not_touched_themselves(name: str, pictures: ByteArray) -> None:
    corruption, before = CORRUPTIONS[name], pictures.copy()
    gaps = []
    for severity in corruption.severities:
        worse = corruption.apply(pictures, severity, dice())
        assert worse.shape == pictures.shape
        assert worse.dtype == np.uint8
        gaps.append(float(np.abs(worse.astype(float) - pictures).mean()))
    assert gaps[0] > 0
    assert gaps == sorted(gaps)
    np.testing.assert_array_equal(pictures, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_dice_give_the_same_pictures(name: str, pictures: ByteArray) -> None:
    corruption = CORRUPTIONS[name]
    first, second = (corruption.apply(pictures, corruption.severities[2], dice()) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_five_severities_each() -> None:
    assert set(CORRUPTIONS) == {"noise", "blur", "jpeg", "darkness", "low contrast", "occlusion", "rotation"}
    assert all(len(corruption.severities) == 5 for corruption in CORRUPTIONS.values())


def test_darkness_and_contrast_by_hand() -> None:
    picture = np.array([[[0, 100], [100, 200]]], np.uint8)
    assert darken(picture, 0.5, dice()).tolist() == [[[0, 50], [50, 100]]]
    assert flatten(picture, 0.5, dice()).tolist() == [[[50, 100], [100, 150]]]


def test_occlusion_covers_its_share(pictures: ByteArray) -> None:
    covered = occlude(np.zeros_like(pictures), 0.25, dice())
    assert ((covered == 128).mean(axis=(1, 2)) == 0.25).all()
    assert len({face.tobytes() for face in covered}) == len(covered)  # everywhere else


def test_rotation_turns_to_both_sides(pictures: ByteArray) -> None:
    bar = np.zeros((20, 48, 48), np.uint8)
    bar[:, :, 20:28] = 255
    top = rotate(bar, 20, dice())[:, 4].argmax(axis=1)
    assert (top < 20).any()
    assert (top > 20).any()


def test_jpeg_of_a_high_quality_is_nearly_the_picture(pictures: ByteArray) -> None:
    assert np.abs(jpeg(pictures, 100, dice()).astype(int) - pictures).max() <= 3


def test_curves_of_a_classifier(classifier: FaceClassifier, faces: Split) -> None:
    def predict(images: ByteArray) -> Floats:
        return classifier.probabilities(list(images)).astype(np.float64)

    told: list[str] = []
    found = robustness(predict, faces, progress=told.append)
    assert told == list(CORRUPTIONS)
    assert found.n == 42
    assert found.clean.accuracy == found.clean.macro_recall == 1
    # The fake sees the mean grey only: darkness is its undoing, a rotation or less contrast changes nothing.
    dark = [point.accuracy for point in found.curves["darkness"].points]
    assert dark == sorted(dark, reverse=True)
    assert dark[-1] == pytest.approx(1 / 7)  # all are called angry
    assert found.curves["low contrast"].mean == 1
    assert found.mean == pytest.approx(np.mean([curve.mean for curve in found.curves.values()]))
    low, high = found.curves["darkness"].points[2].accuracy_ci95
    assert low < dark[2] < high
    assert found == robustness(predict, faces)


def test_a_sample_is_drawn_once_for_all(faces: Split) -> None:
    first = sample(faces, 10)
    assert len(first) == 10
    assert first.rows.tolist() == sample(faces, 10).rows.tolist() == sorted(first.rows.tolist())
    assert first.rows.tolist() != sample(faces, 10, seed=1).rows.tolist()
    assert sample(faces, None) is sample(faces, 42) is faces


def test_no_faces_no_curves(faces: Split) -> None:
    with pytest.raises(MediaError, match="no faces"):
        robustness(lambda images: np.ones((len(images), 7)), faces.take([]))
