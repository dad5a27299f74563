"""What is taught: questions with the expectations and misconceptions that a learner's turns are held against (TOML)."""

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from affect.errors import SettingsError, first_problem

_CLOSED = ConfigDict(extra="forbid", frozen=True)


class Prompt(BaseModel):
    """A question for one missing word, and the word."""

    model_config = _CLOSED

    ask: str = Field(min_length=1)
    word: str = Field(min_length=1)


class Expectation(BaseModel):
    """One sentence of a good answer, and what leads to it, from little help to all of it."""

    model_config = _CLOSED

    ideal: str = Field(min_length=1, description="The sentence; also what the tutor asserts at last.")
    hints: tuple[str, ...] = Field(min_length=1)
    prompts: tuple[Prompt, ...] = Field(min_length=1)


class Misconception(BaseModel):
    """A likely error, and what to say to it."""

    model_config = _CLOSED

    bad: str = Field(min_length=1)
    correction: str = Field(min_length=1)


class Question(BaseModel):
    """A question that takes a few sentences to answer."""

    model_config = _CLOSED

    text: str = Field(min_length=1)
    difficulty: int = Field(ge=1, le=5)
    pumps: tuple[str, ...] = Field(default=("What else can you say?", "Tell me more."), min_length=1)
    expectations: tuple[Expectation, ...] = Field(min_length=1)
    misconceptions: tuple[Misconception, ...] = ()
    another: str = Field(min_length=1, description="The same in another representation: a picture, an experiment.")
    summary: str = Field(min_length=1)


class Lesson(BaseModel):
    """Questions, in the order in which they are asked unless the learner is under- or overtaxed."""

    model_config = _CLOSED

    title: str
    questions: tuple[Question, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> "Lesson":
        texts = [question.text for question in self.questions]
        if len(set(texts)) != len(texts):
            raise ValueError("two questions have the same text")
        return self


def load_lesson(path: Path | None = None) -> Lesson:
    """Read a lesson; the bundled one on Newton's laws when no path is given.

    Raises:
        SettingsError: No such file, no TOML, or a field is missing or wrong; names file and field.
    """
    source = path or resources.files("affect_autotutor").joinpath("lessons", "newton.toml")
    try:
        return Lesson.model_validate(tomllib.loads(source.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{source}: {exc}") from exc
    except ValidationError as exc:
        raise SettingsError(f"{source}: {first_problem(exc, 'file')}") from exc
