import numpy as np
import pytest
from affect_training.evaluation import metrics
from affect_training.evaluation.metrics import Floats, Labels
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve


def labels(*values: int) -> Labels:
    return np.array(values, np.int64)


# Three classes; the guesses are 0, 1, 1, 2.
P: Floats = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.5, 0.3], [0.0, 0.3, 0.7]])


@pytest.fixture
def answers() -> tuple[Floats, Labels]:
    """300 answers over seven classes, half right and too sure."""
    rng = np.random.default_rng(7)
    truth = rng.choice(7, 300, p=[0.1, 0.02, 0.15, 0.25, 0.18, 0.1, 0.2]).astype(np.int64)
    logits = rng.normal(0, 2, (300, 7))
    logits[np.arange(300), truth] += 2
    return metrics.softmax(logits), truth


def test_softmax_equals_scipys_and_does_not_overflow() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (20, 7))
    np.testing.assert_allclose(metrics.softmax(logits), scipy_softmax(logits, axis=1))
    np.testing.assert_allclose(metrics.softmax(logits, 2.5), scipy_softmax(logits / 2.5, axis=1))
    np.testing.assert_allclose(metrics.softmax(np.array([[1e4, 0.0]])), [[1, 0]])


def test_accuracy_by_hand() -> None:
    assert metrics.accuracy(P, labels(0, 1, 2, 2)) == 0.75
    assert metrics.accuracy(P, labels(1, 0, 0, 0)) == 0


def test_macro_f1_by_hand() -> None:
    # Labels 0 1 2 2, guesses 0 1 1 2: class 0 is perfect; 1: TP 1, FP 1; 2: TP 1, FN 1.
    assert metrics.macro_f1(P, labels(0, 1, 2, 2)) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_a_class_never_there_and_never_guessed_counts_as_zero() -> None:
    four = np.hstack([P, np.zeros((4, 1))])
    assert metrics.macro_f1(four, labels(0, 1, 1, 2)) == pytest.approx(3 / 4)


def test_nll_by_hand() -> None:
    expected = -(np.log(0.8) + np.log(0.6) + np.log(0.3) + np.log(0.7)) / 4
    assert metrics.nll(P, labels(0, 1, 2, 2)) == pytest.approx(expected)


def test_a_label_thought_impossible_costs_much_but_not_infinitely() -> None:
    assert metrics.nll(P[3:], labels(0)) == pytest.approx(-np.log(1e-12))


def test_ece_by_hand() -> None:
    # Ten bins: .8 right; .6 right; .5 wrong; .7 right, each alone in its bin.
    top = np.array([[0.85, 0.15], [0.65, 0.35], [0.55, 0.45], [0.75, 0.25]])
    expected = (0.15 + 0.35 + 0.55 + 0.25) / 4
    assert metrics.ece(top, labels(0, 0, 1, 0), bins=10) == pytest.approx(expected)


def test_ece_averages_within_a_bin() -> None:
    # Both in the bin .8-.9: half right at .85 on average.
    top = np.array([[0.84, 0.16], [0.86, 0.14]])
    assert metrics.ece(top, labels(0, 1), bins=10) == pytest.approx(0.35)


def test_a_perfectly_sure_and_right_classifier_is_calibrated() -> None:
    assert metrics.ece(np.eye(7), labels(*range(7))) == 0


def test_the_interval_holds_the_mean_and_shrinks_with_more_faces() -> None:
    few, many = np.arange(50) % 10 < 7, np.arange(5000) % 10 < 7
    low, high = metrics.bootstrap_ci95(few)
    assert low < 0.7 < high
    # Normal approximation: 1.96 sqrt(.7 .3 / n)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 50), rel=0.15)
    narrow = metrics.bootstrap_ci95(many, resamples=500)
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 5000), rel=0.15)


def test_the_interval_is_reproducible() -> None:
    values = np.random.default_rng(3).random(40)
    assert metrics.bootstrap_ci95(values) == metrics.bootstrap_ci95(values)
    assert metrics.bootstrap_ci95(values) != metrics.bootstrap_ci95(values, seed=1)


def test_counted_figures_equal_scikit_learns(answers: tuple[Floats, Labels]) -> None:
    probabilities, truth = answers
    guess = probabilities.argmax(1)
    counts = metrics.confusion(guess, truth, 7)
    np.testing.assert_array_equal(counts, sk.confusion_matrix(truth, guess))
    np.testing.assert_allclose(metrics.normalised(counts), sk.confusion_matrix(truth, guess, normalize="true"))
    assert metrics.accuracy(probabilities, truth) == pytest.approx(sk.accuracy_score(truth, guess))
    assert metrics.macro_f1(probabilities, truth) == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    assert metrics.macro_recall(probabilities, truth) == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert metrics.cohens_kappa(probabilities, truth) == pytest.approx(sk.cohen_kappa_score(truth, guess))
    assert metrics.nll(probabilities, truth) == pytest.approx(sk.log_loss(truth, probabilities))


def test_figures_of_each_class_equal_scikit_learns(answers: tuple[Floats, Labels]) -> None:
    probabilities, truth = answers
    guess = probabilities.argmax(1)
    figures = metrics.per_class(metrics.confusion(guess, truth, 7))
    precision, recall, f1, there = sk.precision_recall_fscore_support(truth, guess)
    specificity = [sk.recall_score(truth != k, guess != k) for k in range(7)]
    np.testing.assert_allclose([f.precision for f in figures], precision)
    np.testing.assert_allclose([f.recall for f in figures], recall)
    np.testing.assert_allclose([f.f1 for f in figures], f1)
    np.testing.assert_allclose([f.specificity for f in figures], specificity)
    assert [f.n for f in figures] == there.tolist()


def test_a_class_that_does_not_occur_leaves_the_macro_recall_alone() -> None:
    four = np.hstack([P, np.zeros((4, 1))])
    assert metrics.macro_recall(four, labels(0, 1, 1, 0)) == pytest.approx((1 / 2 + 1) / 2)
    assert metrics.normalised(metrics.confusion(four.argmax(1), labels(0, 1, 1, 0), 4))[3].tolist() == [0] * 4
    absent = metrics.per_class(metrics.confusion(four.argmax(1), labels(0, 1, 1, 0), 4))[3]
    assert (absent.n, absent.precision, absent.recall, absent.f1, absent.specificity) == (0, 0, 0, 0, 1)


def test_one_class_alone_has_no_agreement_beyond_chance() -> None:
    assert metrics.cohens_kappa(np.tile([0.9, 0.1], (4, 1)), labels(0, 0, 0, 0)) == 0


def test_figures_of_many_matrices_are_those_of_each(answers: tuple[Floats, Labels]) -> None:
    guess, truth = answers[0].argmax(1), answers[1]
    parts = [metrics.confusion(guess[k::3], truth[k::3], 7) for k in range(3)]
    for figure in (metrics.accuracy_of, metrics.macro_f1_of, metrics.macro_recall_of, metrics.cohens_kappa_of):
        np.testing.assert_allclose(figure(np.stack(parts)), [float(figure(part)) for part in parts])


def test_the_interval_from_counts_is_that_from_faces(answers: tuple[Floats, Labels]) -> None:
    guess, truth = answers[0].argmax(1), answers[1]
    counts = metrics.confusion(guess, truth, 7)
    assert metrics.counts_ci95(counts, metrics.accuracy_of) == pytest.approx(
        metrics.bootstrap_ci95(guess == truth), abs=0.01
    )
    rng = np.random.default_rng(1)
    drawn = [
        float(metrics.macro_f1_of(metrics.confusion(guess[rows], truth[rows], 7)))
        for rows in rng.integers(0, 300, (1000, 300))
    ]
    found = metrics.counts_ci95(counts, metrics.macro_f1_of)
    assert found == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.015)
    assert found == metrics.counts_ci95(counts, metrics.macro_f1_of)


def test_the_reliability_bars_are_scikit_learns(answers: tuple[Floats, Labels]) -> None:
    probabilities, truth = answers
    top, right = probabilities.max(1), probabilities.argmax(1) == truth
    hits, sure = calibration_curve(right, top, n_bins=15)
    bars = metrics.reliability(probabilities, truth)
    filled = [bar for bar in bars if bar.n]
    np.testing.assert_allclose([bar.accuracy or 0 for bar in filled], hits)
    np.testing.assert_allclose([bar.confidence or 0 for bar in filled], sure)
    assert len(bars) == 15
    assert all(bar.accuracy is None and bar.confidence is None for bar in bars if not bar.n)
    assert bars[0].low == 0
    assert bars[-1].high == 1
    gap = sum(bar.n * abs((bar.accuracy or 0) - (bar.confidence or 0)) for bar in filled) / 300
    assert metrics.ece(probabilities, truth) == pytest.approx(gap)


def test_the_classwise_error_is_the_mean_over_one_against_the_rest(answers: tuple[Floats, Labels]) -> None:
    probabilities, truth = answers
    gaps = []
    for k in range(7):
        which = np.minimum((probabilities[:, k] * 15).astype(int), 14)
        hits, sure = calibration_curve(truth == k, probabilities[:, k], n_bins=15)
        count = np.bincount(which, minlength=15)
        gaps.append((count[count > 0] * np.abs(hits - sure)).sum() / 300)
    assert metrics.classwise_ece(probabilities, truth) == pytest.approx(np.mean(gaps))
    assert metrics.classwise_ece(np.eye(7), labels(*range(7))) == 0
