"""What a training run is: the recipe's defaults, changed by a run file and by `--set`, and nothing else."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affect.errors import SettingsError
from affect.registry import RecipeSpec


class TrainConfig(BaseModel):
    """Settings of the optimisation; every recipe's `train` table is one of these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(ge=1, description="Upper bound; early stopping usually comes first.")
    batch_size: int = Field(ge=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    l2_kernels: float = Field(default=0.0, ge=0, description="Keras' L2: alpha in alpha * sum(w^2), kernels only.")
    plateau_epochs: int = Field(default=5, ge=1, description="Epochs without lower validation loss before a cut.")
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    stop_epochs: int = Field(default=41, ge=1, description="Epochs without lower validation loss before the end.")
    mirror: bool = True
    seed: int = 0


class RunConfig(BaseModel):
    """A run: which recipe, the arguments of its network, and how it is optimised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    model: dict[str, Any] = Field(default_factory=dict)
    train: TrainConfig


def run_config(recipe: RecipeSpec, *tables: Mapping[str, Any]) -> RunConfig:
    """Merge a recipe's defaults with `{"model": {...}, "train": {...}}` tables, later ones winning.

    Raises:
        SettingsError: A key is unknown or a value is out of range.
    """
    model, train = dict(recipe.model), dict(recipe.train)
    for table in tables:
        unknown = set(table) - {"model", "train", "recipe"}
        if unknown:
            raise SettingsError(f"a run has the tables model and train, not {', '.join(sorted(unknown))}")
        model.update(table.get("model", {}))
        train.update(table.get("train", {}))
    try:
        return RunConfig(recipe=recipe.name, model=model, train=TrainConfig(**train))
    except ValidationError as exc:
        first = exc.errors()[0]
        raise SettingsError(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from exc


def read_run_file(path: Path) -> dict[str, Any]:
    """Read a run file (TOML with `recipe`, `[model]`, `[train]`).

    Raises:
        SettingsError: Not TOML, or no recipe named.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc
    if "recipe" not in table:
        raise SettingsError(f'{path}: expected a line `recipe = "NAME"`')
    return table


def parse_assignments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Turn `train.lr=0.02` or `lr=0.02` into tables; values are TOML, bare words are strings.

    Raises:
        SettingsError: No equals sign.
    """
    tables: dict[str, dict[str, Any]] = {"model": {}, "train": {}}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set wants KEY=VALUE, got {pair!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        table, _, name = key.rpartition(".")
        if table not in ("", "model", "train"):
            raise SettingsError(f"--set {key}: keys are train.NAME or model.NAME")
        tables[table or "train"][name] = value
    return tables
