"""The grammar of `--search`: from `lr=log:0.001:0.1` to what Optuna draws from, and back to tables of a run."""

import itertools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from affect.errors import SettingsError
from affect_training.config import TABLES, RunConfig, setting_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Scalar = str | float | int | bool
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER}):({_NUMBER})(?::({_NUMBER}))?")


@dataclass(frozen=True, slots=True)
class Choices:
    """One of several values; each is kept under a key that a data base can hold."""

    values: Mapping[Scalar, Any]

    def distribution(self) -> "BaseDistribution":
        """Return it as Optuna knows it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(list(self.values))

    def grid(self) -> list[Scalar]:
        """Return all keys."""
        return list(self.values)

    def ends(self) -> list[Scalar]:
        """Return all keys: each may be what does not fit."""
        return list(self.values)

    def value(self, drawn: Scalar) -> Any:
        """Return the setting that a drawn key stands for."""
        return self.values[drawn]


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two, both included: uniform or log-uniform, or in steps; with `whole`, only whole numbers."""

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def distribution(self) -> "BaseDistribution":
        """Return it as Optuna knows it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def grid(self) -> list[Scalar] | None:
        """Return all values; None when there is no end of them."""
        if self.step is None and not (self.whole and not self.log):
            return None
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        values = [self.low + k * step for k in range(count)]
        return [int(v) for v in values] if self.whole else [round(v, 12) for v in values]

    def ends(self) -> list[Scalar]:
        """Return the smallest and the largest value."""
        return [self.low, self.high]

    def value(self, drawn: Scalar) -> Any:
        """Return the setting, which is the number itself."""
        return drawn


Parameter = Choices | Range
Space = dict[str, Parameter]


def parse_space(searches: Sequence[str], model: Mapping[str, Any] | None = None) -> Space:
    """Read `KEY=VALUES` pairs.

    Args:
        searches: KEY is as in `--set` (`lr` or `train.lr`, `model.dropout`). VALUES is a list of TOML values
            (`64,128,256`; bare words are strings), `LOW:HIGH`, `LOW:HIGH:STEP` or `log:LOW:HIGH`. Whole numbers as
            ends (and step) draw whole numbers, save where the setting is a fraction: `votes_weight=0:1`.
        model: Arguments of the network that its recipe sets; they tell which of `model.*` are fractions.

    Returns:
        {TABLE.NAME: parameter}.

    Raises:
        SettingsError: A pair is not of this form, a range is empty, or a key comes twice.
    """
    space: Space = {}
    for pair in searches:
        key, equals, text = pair.partition("=")
        table, _, name = key.strip().rpartition(".")
        if not equals or not name or not text.strip():
            raise SettingsError(f"--search wants KEY=VALUES (lr=log:0.001:0.1, batch_size=64,128), got {pair!r}")
        if table not in ("", *TABLES):
            raise SettingsError(f"--search {key}: keys are TABLE.NAME, with a table of {', '.join(TABLES)}")
        full = f"{table or 'train'}.{name}"
        if full in space:
            raise SettingsError(f"--search {full} is given twice")
        space[full] = _parameter(key, text.strip(), fraction=_is_fraction(full, model or {}))
    if not space:
        raise SettingsError("nothing to tune: name at least one --search KEY=VALUES")
    return space


def tables_of(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return settings {TABLE.NAME: value} as the tables of a run file."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    return tables


def grid_of(space: Space) -> list[dict[str, Scalar]]:
    """Return every combination, the last parameter changing fastest.

    Raises:
        SettingsError: A range has no steps.
    """
    axes = []
    for key, parameter in space.items():
        axis = parameter.grid()
        if axis is None:
            raise SettingsError(f"--search {key}: a grid wants a list (a,b,c) or LOW:HIGH:STEP, not a range")
        axes.append(axis)
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*axes)]


def _is_fraction(key: str, model: Mapping[str, Any]) -> bool:
    table, _, name = key.partition(".")
    if table == "model":
        return isinstance(model.get(name), float)
    settings = RunConfig.model_fields[table].annotation
    field = getattr(settings, "model_fields", {}).get(name)
    return field is not None and float in (field.annotation, *get_args(field.annotation))


def _parameter(key: str, text: str, *, fraction: bool) -> Parameter:
    if match := _RANGE.fullmatch(text):
        log, low, high, step = match.groups()
        ends = _number(low), _number(high), _number(step) if step else None
        whole = not fraction and not any(isinstance(value, float) for value in ends)
        found = Range(ends[0], ends[1], log is not None, ends[2], whole)
        if found.high <= found.low or (found.log and found.low <= 0) or (found.step is not None and found.step <= 0):
            raise SettingsError(f"--search {key}={text}: wants LOW < HIGH, above 0 when log, and a step above 0")
        if found.log and found.step is not None:
            raise SettingsError(f"--search {key}={text}: a log range has no steps")
        return found
    if text.startswith("log:"):
        raise SettingsError(f"--search {key}={text}: wants log:LOW:HIGH")
    try:
        values = tomllib.loads(f"values = [{text}]")["values"]
    except tomllib.TOMLDecodeError:
        values = [setting_of(part.strip()) for part in text.split(",")]
    choices: dict[Scalar, Any] = {}
    for value in values:
        choices[value if isinstance(value, Scalar) else json.dumps(value)] = value
    if len(choices) < len(values):
        raise SettingsError(f"--search {key}={text}: a value comes twice")
    return Choices(choices)


def _number(text: str) -> float:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
