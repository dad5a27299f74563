"""Expectation- and misconception-tailored dialogue: what the tutor says, move by move. Knows no faces and no sockets.

A turn is held against each expectation of the question; what was said counts over turns. The tutor feeds back, corrects
a misconception, and leads to the next expectation by pump, hint, prompt and assertion (Graesser et al. 2004).
"""

from dataclasses import dataclass
from enum import StrEnum

from affect_autotutor.lesson import Expectation, Lesson, Misconception, Prompt, Question
from affect_autotutor.matching import Matcher, WordMatcher, denies
from affect_autotutor.policy import Tactic

COVERED = 0.6
"""Share of an expectation's words, rare ones weighing more, at which it counts as said."""

WRONG = 0.4
"""Share of a misconception's words at which it is met."""

CONSOLATION = "This part is awkward; most people stumble over it. Let us take a smaller step."
RELIEF = "That was a hard one, and the way I asked did not help. Here is that piece."
DARE = "You seem to have the easy part. Try this one instead."
OTHER_WAY = "Let us look at it another way."
DELIGHTED = "Nice, is it not?"


class Verdict(StrEnum):
    """What a turn was, as far as words tell."""

    RIGHT = "right"
    WRONG = "wrong"
    UNCLEAR = "unclear"  # nothing new was recognised: wrong, or right in words of the learner's own


class MoveKind(StrEnum):
    """Dialogue moves of AutoTutor, and those that answer a feeling."""

    QUESTION = "question"
    FEEDBACK = "feedback"
    CORRECTION = "correction"
    PUMP = "pump"
    HINT = "hint"
    PROMPT = "prompt"
    ASSERTION = "assertion"
    SUMMARY = "summary"
    AFFECT = "affect"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Move:
    """One thing the tutor says; `expectation` is the one it leads to, counted from 0."""

    kind: MoveKind
    text: str
    expectation: int | None = None


@dataclass(slots=True)
class _Progress:
    """How far a question is answered: what was said, and how much help each expectation has had."""

    said: list[str]
    covered: list[bool]
    helps: list[int]
    pumps: int = 0
    target: int | None = None
    prompt: Prompt | None = None
    other_way: bool = False


class Dialogue:
    """One learner's way through a lesson.

    Args:
        lesson: What is taught.
        matcher: Holds turns against sentences; words that overlap when not given.
    """

    def __init__(self, lesson: Lesson, matcher: Matcher | None = None) -> None:
        self.lesson = lesson
        self._matcher = matcher or WordMatcher(_sentences(lesson))
        self._left = list(lesson.questions)
        self._question: Question | None = None
        self._progress = _Progress([], [], [])
        self.right = self.wrong = 0
        self.verdict = Verdict.UNCLEAR
        self.used = False

    @property
    def question(self) -> Question | None:
        """What is being asked; None before the start and after the end."""
        return self._question

    @property
    def mastery(self) -> float:
        """Share that was right of the turns that could be judged, as if there had been one of each before."""
        return (self.right + 1) / (self.right + self.wrong + 2)

    @property
    def covered(self) -> tuple[bool, ...]:
        """Which expectations of the question were said, by whomever."""
        return tuple(self._progress.covered)

    def start(self) -> list[Move]:
        """Ask the first question."""
        return self._ask(self._left[0])

    def take(self, turn: str) -> list[Move]:
        """Take a learner's turn; return feedback and, if there is one, a correction. `go_on` says what comes next.

        Raises:
            ValueError: There is no open question.
        """
        question, progress = self._asked(), self._progress
        prompt, progress.prompt = progress.prompt, None
        newly = [
            number
            for number, expectation in enumerate(question.expectations)
            if not progress.covered[number]
            and self._matcher.coverage([*progress.said, turn], expectation.ideal) >= COVERED
        ]
        answered = prompt is not None and self._has(turn, prompt.word)
        if answered and progress.target is not None and progress.target not in newly:
            newly.append(progress.target)
        error = None if newly else self._misconception(question, turn)
        if error is not None:  # its words are not kept: they must not make a later turn right
            self._judge(Verdict.WRONG)
            return [Move(MoveKind.FEEDBACK, "Not quite."), Move(MoveKind.CORRECTION, error.correction)]
        progress.said.append(turn)
        for number in newly:
            progress.covered[number] = True
        if newly:
            self._judge(Verdict.RIGHT)
            return [Move(MoveKind.FEEDBACK, "Right.")]
        self._judge(Verdict.UNCLEAR if prompt is None else Verdict.WRONG)
        return [Move(MoveKind.FEEDBACK, "I see.")]

    def _judge(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.right += verdict is Verdict.RIGHT
        self.wrong += verdict is Verdict.WRONG

    def go_on(self, tactic: Tactic | None = None) -> list[Move]:
        """Say what comes next: help towards an expectation, or summary and the next question.

        Args:
            tactic: What is to change because of what the learner feels; `used` says whether anything did.

        Raises:
            ValueError: There is no open question.
        """
        question = self._asked()
        changed = self._changed(tactic, question)
        self.used = bool(changed)
        if changed and tactic is not Tactic.ACKNOWLEDGE:
            return changed
        always = self._finish(question) if all(self._progress.covered) else self._help(question, self._next(question))
        return [*changed, *always]

    # Inside

    def _changed(self, tactic: Tactic | None, question: Question) -> list[Move]:
        """Return what a tactic makes of this turn; nothing where there is nothing that it can change."""
        progress = self._progress
        finished = all(progress.covered)
        if tactic is Tactic.HARDER and (harder := self._harder(question)) is not None:
            ended = [Move(MoveKind.SUMMARY, question.summary)] if finished else []
            return [*ended, Move(MoveKind.AFFECT, DARE), *self._ask(harder)]
        if tactic is Tactic.ACKNOWLEDGE and self.verdict is Verdict.RIGHT:
            return [Move(MoveKind.AFFECT, DELIGHTED)]
        if finished:
            return []
        number = self._next(question)
        expectation = question.expectations[number]
        if tactic is Tactic.ANOTHER and not progress.other_way:
            progress.other_way = True
            return [Move(MoveKind.AFFECT, OTHER_WAY), Move(MoveKind.HINT, question.another, number)]
        if tactic is Tactic.SMALLER_STEP:
            return [Move(MoveKind.AFFECT, CONSOLATION), self._prompt(expectation, number)]
        if tactic is Tactic.ASSERTION:
            return [Move(MoveKind.AFFECT, RELIEF), *self._assert(question, number)]
        if tactic is Tactic.HINT and progress.helps[number] < len(expectation.hints):
            return [self._hint(expectation, number)]
        return []

    def _asked(self) -> Question:
        if self._question is None:
            raise ValueError("there is no open question; start() asks the first")
        return self._question

    def _ask(self, question: Question) -> list[Move]:
        self._left.remove(question)
        self._question = question
        count = len(question.expectations)
        self._progress = _Progress([], [False] * count, [0] * count)
        return [Move(MoveKind.QUESTION, question.text)]

    def _finish(self, question: Question) -> list[Move]:
        moves = [Move(MoveKind.SUMMARY, question.summary)]
        if not self._left:
            self._question = None
            return [*moves, Move(MoveKind.CLOSE, "That was the last question. Thank you!")]
        return [*moves, *self._ask(self._left[0])]

    def _harder(self, question: Question) -> Question | None:
        """The easiest of the questions left that are harder than this one."""
        harder = [other for other in self._left if other.difficulty > question.difficulty]
        return min(harder, key=lambda other: other.difficulty, default=None)

    def _misconception(self, question: Question, turn: str) -> Misconception | None:
        """The error that a turn is nearest to, if it is nearer to it than to anything right and does not deny it."""
        best = max((self._matcher.coverage([turn], e.ideal) for e in question.expectations), default=0.0)
        met = [m for m in question.misconceptions if denies(m.bad) == denies(turn)]
        scored = [(self._matcher.coverage([turn], m.bad), m) for m in met]
        score, nearest = max(scored, key=lambda pair: pair[0], default=(0.0, None))
        return nearest if score >= WRONG and score > best else None

    def _next(self, question: Question) -> int:
        """The expectation to lead to: the one under way, else the one that is nearest to being said."""
        progress = self._progress
        if progress.target is None or progress.covered[progress.target]:
            open_ = [number for number, covered in enumerate(progress.covered) if not covered]
            progress.target = max(
                open_, key=lambda n: self._matcher.coverage(progress.said, question.expectations[n].ideal)
            )
        return progress.target

    def _help(self, question: Question, number: int) -> list[Move]:
        """The next step of pump, hints, prompts, assertion."""
        progress, expectation = self._progress, question.expectations[number]
        if progress.pumps < len(question.pumps) and not any(progress.helps):
            progress.pumps += 1
            return [Move(MoveKind.PUMP, question.pumps[progress.pumps - 1])]
        if progress.helps[number] < len(expectation.hints):
            return [self._hint(expectation, number)]
        if progress.helps[number] < len(expectation.hints) + len(expectation.prompts):
            return [self._prompt(expectation, number)]
        return self._assert(question, number)

    def _hint(self, expectation: Expectation, number: int) -> Move:
        helps = self._progress.helps
        helps[number] += 1
        return Move(MoveKind.HINT, expectation.hints[helps[number] - 1], number)

    def _prompt(self, expectation: Expectation, number: int) -> Move:
        helps, hints = self._progress.helps, len(expectation.hints)
        step = min(max(helps[number] - hints, 0), len(expectation.prompts) - 1)
        helps[number] = hints + step + 1
        self._progress.prompt = expectation.prompts[step]
        return Move(MoveKind.PROMPT, expectation.prompts[step].ask, number)

    def _assert(self, question: Question, number: int) -> list[Move]:
        """Say it for the learner, and go on with the next piece."""
        progress = self._progress
        progress.covered[number], progress.target = True, None
        moves = [Move(MoveKind.ASSERTION, question.expectations[number].ideal, number)]
        if all(progress.covered):
            return [*moves, *self._finish(question)]
        return [*moves, *self._help(question, self._next(question))]

    def _has(self, turn: str, word: str) -> bool:
        """Whether a turn has the word that was prompted for, or one that means it to the matcher."""
        return word.lower() in turn.lower().split() or self._matcher.coverage([turn], word) >= COVERED


def _sentences(lesson: Lesson) -> list[str]:
    return [
        sentence
        for question in lesson.questions
        for sentence in (*(e.ideal for e in question.expectations), *(m.bad for m in question.misconceptions))
    ]
