from pathlib import Path

import pytest
from affect_autotutor.lesson import load_lesson
from affect_autotutor.matching import WordMatcher, stems

from affect.errors import SettingsError


def test_the_bundled_lesson_is_whole() -> None:
    lesson = load_lesson()
    assert len(lesson.questions) == 3
    assert [question.difficulty for question in lesson.questions] == [2, 3, 4]
    assert all(question.misconceptions for question in lesson.questions)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title = 1", "title"),
        ('title = "x"\nquestions = []', "questions"),
        ("title = ", "Invalid value"),
        ('title = "x"\n[[questions]]\ntext = "?"\n', "questions.0.difficulty: Field required"),
    ],
)
def test_what_is_no_lesson_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "lesson.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_lesson(path)
    assert str(path) in caught.value.message
    assert told in caught.value.message
    with pytest.raises(SettingsError, match="No such file"):
        load_lesson(tmp_path / "gone.toml")


IDEAL = "No horizontal force acts on the pumpkin in the air, so its horizontal speed stays constant."


def test_words_are_held_against_each_other_without_their_endings() -> None:
    assert stems("The runner's forces are acting on pumpkins") == ["runner", "forc", "act", "pumpkin"]


def test_coverage_grows_with_what_was_said_over_turns() -> None:
    matcher = WordMatcher([IDEAL, "Gravity pulls down."])
    assert matcher.coverage([], IDEAL) == 0
    some = matcher.coverage(["there is no horizontal force"], IDEAL)
    more = matcher.coverage(["there is no horizontal force", "in the air the pumpkin's speed stays constant"], IDEAL)
    assert 0 < some < more <= 1
    assert matcher.coverage([IDEAL], IDEAL) == 1


def test_who_denies_what_is_affirmed_says_half_of_it_and_spoils_no_other_turn() -> None:
    ideal = "The forces are equal."
    matcher = WordMatcher([ideal, IDEAL])
    assert matcher.coverage(["the forces are not equal"], ideal) == 0.5
    assert matcher.coverage(["the forces are not equal", "the forces are equal"], ideal) == 1


def test_a_rare_word_tells_more_than_one_of_every_sentence() -> None:
    matcher = WordMatcher(["The pumpkin falls.", "The pumpkin lands.", "The pumpkin floats."])
    assert matcher.coverage(["lands"], "The pumpkin lands.") > matcher.coverage(["pumpkin"], "The pumpkin lands.")
