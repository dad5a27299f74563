import numpy as np
import pytest
from affect_training.data import Split
from affect_training.evaluation import metrics
from affect_training.evaluation.adversarial import Adversarial, AttackFigures
from affect_training.evaluation.groups import by_group
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.robustness import robustness, sample
from affect_training.report import plots
from affect_training.report.style import DARK, LIGHT


def test_both_confusions_show_their_numbers(split: Split, answers: Floats) -> None:
    counts = metrics.confusion(answers.argmax(1), split.labels, 7)
    shares, plain = plots.confusion_plots(counts)
    assert (shares.name, plain.name) == ("confusion-normalised", "confusion")
    texts = [text.get_text() for text in plain.render(DARK).axes[0].texts]
    assert texts == [str(v) for v in counts.ravel()]
    off = metrics.normalised(counts) - np.diag(np.diag(metrics.normalised(counts)))
    assert f"{100 * off.max():.0f} % of its faces" in shares.caption


def test_a_perfect_confusion_names_no_mistake() -> None:
    shares, _ = plots.confusion_plots(np.eye(7, dtype=np.int64))
    assert "mistaken" not in shares.caption


def test_bars_of_each_emotion_name_the_weakest(split: Split, answers: Floats) -> None:
    figures = metrics.per_class(metrics.confusion(answers.argmax(1), split.labels, 7))
    plot = plots.class_bars(figures)
    weakest = min(figures, key=lambda f: f.f1)
    assert f"{weakest.f1:.2f}" in plot.caption
    heights = [bar.get_height() for bar in plot.render(LIGHT).axes[0].patches]  # type: ignore[attr-defined]
    assert heights == [*(f.precision for f in figures), *(f.recall for f in figures), *(f.f1 for f in figures)]


def test_reliability_compares_before_and_after(split: Split, answers: Floats) -> None:
    after = metrics.softmax(np.log(answers), 2.0)
    plot = plots.reliability_plot(answers, after, split.labels, "by hand")
    texts = [text.get_text() for text in plot.render(LIGHT).axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert texts == [
        f"before: ECE {metrics.ece(answers, split.labels):.3f}",
        f"after: ECE {metrics.ece(after, split.labels):.3f}",
    ]
    assert plot.caption.endswith("after: by hand.")


def test_every_guess_is_in_the_histogram(split: Split, answers: Floats) -> None:
    plot = plots.confidence_plot(answers, split.labels)
    bars = plot.render(LIGHT).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == len(split)  # type: ignore[attr-defined]
    sure = answers.max(axis=1) >= 0.9
    assert f"{100 * sure.mean():.0f} % of the guesses" in plot.caption


def test_nobody_is_sure_can_be_drawn(split: Split) -> None:
    plot = plots.confidence_plot(np.full((len(split), 7), 1 / 7), split.labels)
    assert "0 % of the guesses have a probability of .9 or more." in plot.caption


def test_a_curve_for_each_corruption(split: Split, answers: Floats) -> None:
    few = sample(split, 14)
    found = robustness(lambda images: answers[: len(images)], few)
    axes = plots.robustness_plot(found, "a.json").render(LIGHT).axes
    assert [cell.get_title(loc="left") for cell in axes] == list(found.curves)
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["–", "5", "10", "20", "35", "50"]


def test_attacks_start_at_the_untouched_accuracy() -> None:
    attacks = tuple(AttackFigures(name, e, a, (0, 1)) for name in ("fgsm", "pgd") for e, a in ((1.0, 0.4), (2.0, 0.1)))
    plot = plots.adversarial_plot(Adversarial(100, 0, 0.6, (0.5, 0.7), attacks), "a.json")
    lines = plot.render(LIGHT).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[0.6, 0.4, 0.1]] * 2  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_groups_are_named_with_their_size(split: Split, answers: Floats, names: tuple[str, ...]) -> None:
    member = [names[k % len(names)] for k in range(len(split))]
    found = by_group(answers, split.labels, member, permutations=20)
    plot = plots.groups_plot(found, "a.json")
    labels = [label.get_text() for label in plot.render(LIGHT).axes[0].get_yticklabels()]
    assert labels == [f"{name} ({member.count(name)})" for name in names]
