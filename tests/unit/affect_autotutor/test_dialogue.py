"""The dialogue by itself: what the tutor says to right, wrong and no answers, and what each tactic changes."""

import pytest
from affect_autotutor.dialogue import Dialogue, Move, MoveKind, Verdict
from affect_autotutor.lesson import Lesson, load_lesson
from affect_autotutor.policy import Tactic

K = MoveKind
LESSON = Lesson.model_validate(
    {
        "title": "t",
        "questions": [
            {
                "text": f"question {name}",
                "difficulty": difficulty,
                "pumps": ["pump"],
                "another": f"another {name}",
                "summary": f"summary {name}",
                "expectations": [
                    {"ideal": f"alpha beta gamma {name}", "hints": ["hint 1", "hint 2"],
                     "prompts": [{"ask": "prompt 1", "word": "gamma"}]},
                    {"ideal": f"delta epsilon zeta {name}", "hints": ["hint 3"],
                     "prompts": [{"ask": "prompt 2", "word": "zeta"}]},
                ],
                "misconceptions": [{"bad": "kappa lambda", "correction": "no kappa"}],
            }
            for name, difficulty in (("one", 2), ("two", 1), ("three", 4), ("four", 3))
        ],
    }
)  # fmt: skip


def kinds(moves: list[Move]) -> list[MoveKind]:
    return [move.kind for move in moves]


@pytest.fixture
def dialogue() -> Dialogue:
    made = Dialogue(LESSON)
    assert [(m.kind, m.text) for m in made.start()] == [(K.QUESTION, "question one")]
    return made


def test_help_grows_from_pump_to_assertion(dialogue: Dialogue) -> None:
    said = []
    for _ in range(5):
        assert [m.text for m in dialogue.take("hm")] == ["I see."]
        said += dialogue.go_on()
    assert [m.text for m in said][:5] == ["pump", "hint 1", "hint 2", "prompt 1", "alpha beta gamma one"]
    assert said[4].kind is K.ASSERTION
    assert said[5].text == "hint 3"  # and on with the next piece
    assert dialogue.covered == (True, False)
    assert (dialogue.right, dialogue.wrong) == (0, 1)  # the prompt was missed; the others could not be judged


def test_what_was_said_needs_no_help(dialogue: Dialogue) -> None:
    assert [m.text for m in dialogue.take("alpha and beta, and gamma")] == ["Right."]
    assert dialogue.covered == (True, False)
    dialogue.go_on()
    dialogue.take("delta epsilon zeta")
    moves = dialogue.go_on()
    assert [m.text for m in moves] == ["summary one", "question two"]
    assert (dialogue.right, dialogue.wrong, dialogue.mastery) == (2, 0, 0.75)


def test_what_was_said_counts_over_turns(dialogue: Dialogue) -> None:
    dialogue.take("alpha")
    assert dialogue.covered == (False, False)
    dialogue.take("gamma")
    assert dialogue.covered == (True, False)  # two of three words


def test_the_prompted_word_is_an_answer(dialogue: Dialogue) -> None:
    while (move := dialogue.go_on()[-1]).kind is not K.PROMPT:
        dialogue.take("hm")
    assert move.text == "prompt 1"
    assert [m.text for m in dialogue.take("it is gamma")] == ["Right."]
    assert dialogue.covered == (True, False)


def test_a_misconception_is_corrected_and_is_no_part_of_an_answer(dialogue: Dialogue) -> None:
    moves = dialogue.take("kappa lambda alpha")
    assert [m.text for m in moves] == ["Not quite.", "no kappa"]
    dialogue.take("beta")
    assert dialogue.covered == (False, False)
    assert (dialogue.right, dialogue.wrong) == (0, 1)


def test_the_lesson_ends(dialogue: Dialogue) -> None:
    for _ in range(4):
        dialogue.take("alpha beta gamma delta epsilon zeta")
        moves = dialogue.go_on()
    assert kinds(moves) == [K.SUMMARY, K.CLOSE]
    assert dialogue.question is None
    with pytest.raises(ValueError, match="no open question"):
        dialogue.take("alpha")
    with pytest.raises(ValueError, match="start"):
        Dialogue(LESSON).go_on()


# What a feeling changes: the same turn, another answer


@pytest.mark.parametrize(
    ("tactic", "expected"),
    [
        (None, ["pump"]),
        (Tactic.HINT, ["hint 1"]),
        (Tactic.ANOTHER, ["another one"]),
        (Tactic.SMALLER_STEP, ["prompt 1"]),
        (Tactic.ASSERTION, ["alpha beta gamma one", "pump"]),
        (Tactic.HARDER, ["question four"]),
    ],
)
def test_a_tactic_changes_what_is_said(dialogue: Dialogue, tactic: Tactic | None, expected: list[str]) -> None:
    dialogue.take("hm")
    moves = dialogue.go_on(tactic)
    assert [m.text for m in moves if m.kind is not K.AFFECT] == expected
    words = [m.text for m in moves if m.kind is K.AFFECT]
    assert len(words) == (0 if tactic in (None, Tactic.HINT) else 1)
    assert not any("you" in word.lower().split() and "wrong" in word for word in words)  # it blames the material


def test_a_delight_is_acknowledged_after_a_right_answer_only(dialogue: Dialogue) -> None:
    dialogue.take("hm")
    assert K.AFFECT not in kinds(dialogue.go_on(Tactic.ACKNOWLEDGE))
    assert not dialogue.used
    dialogue.take("alpha beta gamma")
    assert kinds(dialogue.go_on(Tactic.ACKNOWLEDGE))[0] is K.AFFECT
    assert dialogue.used


def test_the_other_representation_is_shown_once_a_question(dialogue: Dialogue) -> None:
    shown = []
    for _ in range(4):
        dialogue.take("hm")
        shown.append([m.text for m in dialogue.go_on(Tactic.ANOTHER)])
    assert [text for texts in shown for text in texts].count("another one") == 1


def test_asking_for_help_again_and_again_leads_on(dialogue: Dialogue) -> None:
    asked = [[m.text for m in dialogue.go_on(Tactic.HINT)] for _ in range(3)]
    assert asked == [["hint 1"], ["hint 2"], ["prompt 1"]]
    assert dialogue.take("gamma")[0].text == "Right."


def test_a_word_that_nobody_asked_for_is_no_answer_to_a_prompt(dialogue: Dialogue) -> None:
    dialogue.go_on(Tactic.HINT)
    dialogue.go_on(Tactic.HINT)
    assert dialogue.take("gamma")[0].text == "I see."
    assert dialogue.verdict is Verdict.UNCLEAR


def test_what_a_finished_question_cannot_use_is_not_used(dialogue: Dialogue) -> None:
    dialogue.take("alpha beta gamma delta epsilon zeta")
    moves = dialogue.go_on(Tactic.SMALLER_STEP)
    assert (kinds(moves), dialogue.used) == ([K.SUMMARY, K.QUESTION], False)


def test_a_finished_question_is_summed_up_before_a_harder_one(dialogue: Dialogue) -> None:
    dialogue.take("alpha beta gamma delta epsilon zeta")
    moves = dialogue.go_on(Tactic.HARDER)
    assert [m.text for m in moves if m.kind is not K.AFFECT] == ["summary one", "question four"]


@pytest.mark.parametrize(
    "turn", ["The keys do not drop to the floor of the lift", "they don't drop to the floor of the lift"]
)
def test_who_denies_a_misconception_has_none(turn: str) -> None:
    dialogue = Dialogue(Lesson(title="t", questions=load_lesson().questions[2:]))
    dialogue.start()
    assert dialogue.take(turn)[0].text != "Not quite."


def test_what_is_right_is_right_whatever_else_is_said() -> None:
    dialogue = Dialogue(Lesson(title="t", questions=load_lesson().questions[1:2]))
    dialogue.start()
    turn = "The force of the truck on the car equals the force of the car on the truck, although the truck is heavier"
    assert dialogue.take(turn)[0].text == "Right."


def test_the_question_that_was_left_for_a_harder_one_is_over(dialogue: Dialogue) -> None:
    dialogue.take("hm")
    dialogue.go_on(Tactic.HARDER)
    asked = [dialogue.question.text if dialogue.question else ""]
    while dialogue.question is not None:
        dialogue.take("alpha beta gamma delta epsilon zeta")
        asked += [m.text for m in dialogue.go_on() if m.kind is K.QUESTION]
    assert asked == ["question four", "question two", "question three"]


def test_without_a_harder_question_nothing_is_skipped() -> None:
    dialogue = Dialogue(Lesson(title="t", questions=LESSON.questions[2:3]))
    dialogue.start()
    dialogue.take("hm")
    assert [m.text for m in dialogue.go_on(Tactic.HARDER)] == ["pump"]


def test_good_answers_to_the_bundled_lesson_are_understood() -> None:
    dialogue = Dialogue(load_lesson())
    dialogue.start()
    for turn in (
        "It has the same horizontal speed as me, the runner, when it is released",
        "In the air no horizontal force acts on it, so its speed stays constant",
        "gravity pulls it straight down, that changes only the vertical speed",
        "we both get the same distance forward so it lands in my hands",
    ):
        assert dialogue.take(turn)[0].text == "Right.", turn
        moves = dialogue.go_on()
    assert kinds(moves) == [K.SUMMARY, K.QUESTION]
    assert dialogue.take("the truck has the greater force because it is heavier")[0].text == "Not quite."
