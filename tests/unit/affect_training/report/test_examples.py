import numpy as np
from affect_training.data import Split
from affect_training.evaluation.metrics import Floats
from affect_training.report.examples import example_sheet, one_of_each, surest_errors
from affect_training.report.style import LIGHT
from matplotlib.colors import to_rgba


def test_one_of_each_emotion_right_and_wrong(split: Split, answers: Floats) -> None:
    right, wrong = (one_of_each(split, answers, right=kind) for kind in (True, False))
    assert [face.label for face in right] == [face.label for face in wrong] == list(range(7))
    assert all(face.guess == face.label for face in right)
    assert all(face.guess != face.label for face in wrong)
    for face in right:
        assert np.array_equal(face.image, split.images[face.row])


def test_an_emotion_that_is_never_missed_has_no_wrong_example(split: Split) -> None:
    assert one_of_each(split, np.eye(7)[split.labels], right=False) == []


def test_the_surest_errors_come_first(split: Split, answers: Floats) -> None:
    found = surest_errors(split, answers, 5)
    tops = [float(face.probabilities.max()) for face in found]
    assert tops == sorted(tops, reverse=True)
    wrong = answers.argmax(1) != split.labels
    assert tops[0] == answers[wrong].max()
    assert found[0].title.endswith(f"(row {found[0].row})")
    assert ", taken for " in found[0].title


def test_on_a_page_label_and_guess_are_marked(split: Split, answers: Floats) -> None:
    (face, *_) = surest_errors(split, answers)
    example = face.on_page()
    assert not example.right
    assert example.face.startswith("data:image/png;base64,")
    assert [k for k, bar in enumerate(example.bars) if bar.label] == [face.label]
    assert [k for k, bar in enumerate(example.bars) if bar.guess] == [face.guess]


def test_on_a_sheet_the_label_is_blue_and_a_wrong_guess_orange(split: Split, answers: Floats) -> None:
    shown = surest_errors(split, answers, 3)
    figure = example_sheet("a", "A", shown).render(LIGHT)
    assert len(figure.axes) == 6  # two a face; the empty place has none
    bars = figure.axes[1].patches
    assert bars[shown[0].label].get_facecolor() == to_rgba(LIGHT.first)
    assert bars[shown[0].guess].get_facecolor() == to_rgba(LIGHT.second)
