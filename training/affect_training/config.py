"""What a training run is: the recipe's defaults, changed by a run file and by `--set`, and nothing else."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from affect.errors import SettingsError, first_problem
from affect.registry import RecipeSpec

TABLES = ("model", "data", "augment", "train")
RISING = ("cosine", "onecycle")
"""Schedules that may begin with a warmup."""
_BARE_POINT = re.compile(r"(?<![\w.])\.(?=\d)")


class DataConfig(BaseModel):
    """What the network is given: grey faces [N, 1, 48, 48] and, beside the label, other targets."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    normalise: Literal["measured", "unit", "half"] = Field(
        default="measured",
        description="measured: centre and deviation of Training; unit: 0-1; half: (x - .5) / .5.",
    )
    votes: bool = Field(default=False, description="Read FER+ votes (fer2013new.csv beside the data).")
    aux: tuple[str, ...] = Field(default=(), description="Auxiliary sets below --aux, mixed into Training.")
    aux_weight: float = Field(default=1.0, gt=0, description="Weight of an auxiliary face in the loss.")
    drop_leaks: bool = Field(
        default=False, description="Drop Training and auxiliary faces that also occur in another split."
    )
    holdout: float = Field(
        default=0.0, ge=0, le=0.5, description="Share of Training that becomes PublicTest, for data that have none."
    )


class AugmentConfig(BaseModel):
    """Random changes of a training batch, all on the device; everything off by default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mirror: bool = Field(default=False, description="Mirror half of the faces.")
    rotation_deg: float = Field(default=0.0, ge=0, le=180, description="Largest turn, in either direction.")
    zoom: tuple[float, float] = Field(default=(1.0, 1.0), description="Range of the enlargement.")
    shift: float = Field(default=0.0, ge=0, le=0.5, description="Of the side, in each direction.")
    shear_deg: float = Field(default=0.0, ge=0, le=60, description="Largest, in either direction.")
    size: int | None = Field(default=None, ge=8, le=48, description="Side of the output; central crop, no scaling.")
    brightness: float = Field(default=0.0, ge=0, le=1, description="Largest change, in either direction; .3 is 30 %.")
    contrast: float = Field(default=0.0, ge=0, le=1, description="The same, around the mean of the face.")
    noise: float = Field(default=0.0, ge=0, le=1, description="Largest deviation of Gaussian noise, 0-1 scale.")
    blur: float = Field(default=0.0, ge=0, le=1, description="Probability of a Gaussian blur, sigma .3 to 1.2 px.")
    erasing: float = Field(default=0.0, ge=0, le=1, description="Probability of erasing a rectangle (Zhong 2017).")
    mixup: float = Field(default=0.0, ge=0, le=4, description="Alpha of the beta distribution (Zhang 2018); 0 = off.")
    cutmix: float = Field(default=0.0, ge=0, le=4, description="Alpha (Yun 2019); 0 = off. With mixup: one of the two.")
    ramp_epochs: int = Field(default=0, ge=0, description="Epochs in which the strength grows from .3 to 1.")
    calm_epochs: int = Field(default=0, ge=0, description="Last epochs without mixup, cutmix and erasing.")

    @model_validator(mode="after")
    def _zoom_is_a_range(self) -> Self:
        if not 0.2 <= self.zoom[0] <= self.zoom[1] <= 5:
            raise ValueError(f"zoom is (smallest, largest) between .2 and 5, got {self.zoom}")
        return self


class TrainConfig(BaseModel):
    """Settings of the optimisation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # How long
    epochs: int = Field(ge=1, description="Upper bound; early stopping (stop_epochs) may come first.")
    batch_size: int = Field(ge=1, description="Faces a step, over all processes.")
    stop_epochs: int = Field(default=0, ge=0, description="Epochs without progress until the end; 0 = never.")
    watch: Literal["loss", "accuracy"] = Field(
        default="loss", description="Whose progress on PublicTest early stopping and the plateau schedule look for."
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto",
        description="Of convolutions and dense layers, in training and export; auto: bfloat16 where that is fast.",
    )
    # Optimiser
    optimizer: Literal["sgd", "adam", "adamw", "radam"] = Field(default="sgd", description="As torch has them.")
    lr: float = Field(gt=0, description="Learning rate: the first one; with cosine and onecycle the largest.")
    body_lr_factor: float = Field(default=1.0, ge=0, description="Of lr, for all but the head; 0 freezes the body.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd only.")
    nesterov: bool = Field(default=True, description="sgd only: Nesterov's momentum.")
    weight_decay: float = Field(default=0.0, ge=0, description="Kernels only; adamw: decoupled.")
    l2_kernels: float = Field(default=0.0, ge=0, description="Keras' L2: alpha in alpha * sum(w^2), kernels only.")
    clip_norm: float | None = Field(default=None, gt=0, description="Longer gradients are cut to this norm.")
    ema: float | None = Field(default=None, gt=0, lt=1, description="Decay of the weight average a step.")
    freeze: tuple[str, ...] = Field(default=(), description="Modules or parameters that stay as they are.")
    # Schedule
    schedule: Literal["constant", "plateau", "cosine", "onecycle"] = Field(
        default="constant",
        description="Of the learning rate; plateau cuts it when `watch` stands still; onecycle leaves the momentum.",
    )
    warmup: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of the steps in which the rate rises; else .3 of onecycle, 0 of cosine.",
    )
    plateau_epochs: int = Field(default=5, ge=1, description="Epochs without progress before a cut.")
    plateau_factor: float = Field(default=0.5, gt=0, lt=1, description="The rate is multiplied by it.")
    # Loss
    loss: Literal["cross_entropy", "l2_svm", "focal"] = Field(
        default="cross_entropy", description="l2_svm: squared hinge, one against the rest (Tang 2013); focal: Lin 2017."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the label given to all emotions.")
    focal_gamma: float = Field(default=2.0, ge=0, description="focal only.")
    logit_adjustment: float = Field(default=0.0, ge=0, description="tau of Menon 2021; 1 = balanced softmax.")
    votes_weight: float = Field(default=0.0, ge=0, le=1, description="Share of the FER+ votes in the loss.")
    # Balance
    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="balanced: a face weighs in the loss as its emotion is rare (a teacher's share of it does not).",
    )
    balance: Literal["none", "oversample", "smote", "smotetomek"] = Field(
        default="none", description="Faces of rare emotions drawn more often, or made (imbalanced-learn)."
    )
    # Distillation
    teacher: tuple[str, ...] = Field(default=(), description="Backends or weights files whose mean is taught.")
    teacher_weight: float = Field(default=0.5, ge=0, le=1, description="Share of the teacher in the loss.")
    teacher_temperature: float = Field(default=2.0, gt=0, description="Softens both sides' answers (Hinton 2015).")
    # Selection
    select: Literal["accuracy", "balanced"] = Field(
        default="accuracy", description="Best epoch on PublicTest: accuracy, or its mean with the macro recall."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of the first weights, the order, and all chance.")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov looks ahead along the momentum, which is 0; set nesterov = false too")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_warmup_is_none(cls, given: Any) -> Any:
        """Runs from before there was a default have 0 where nothing rises."""
        if isinstance(given, dict) and given.get("warmup") == 0 and given.get("schedule") not in RISING:
            return {key: value for key, value in given.items() if key != "warmup"}
        return given

    @model_validator(mode="after")
    def _something_rises(self) -> Self:
        if self.warmup and self.schedule not in RISING:
            raise ValueError(f"warmup is of cosine and onecycle, not of {self.schedule}; set warmup = 0 too")
        return self

    @model_validator(mode="after")
    def _classes_are_made_equal_once(self) -> Self:
        weighed = [name for name in ("class_weights", "logit_adjustment") if getattr(self, name) not in ("none", 0)]
        if self.balance != "none" and weighed:
            raise ValueError(f"balance = {self.balance} leaves classes of one size, and {weighed[0]} nothing to do")
        return self

    @model_validator(mode="after")
    def _l2_is_in_the_loss(self) -> Self:
        if self.l2_kernels and self.optimizer == "adamw":
            raise ValueError("l2_kernels is part of the loss, which adamw keeps its decay out of; take adam")
        return self


class RunConfig(BaseModel):
    """A run: which recipe, the arguments of its network, what it is given, and how it is optimised."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    recipe: str
    init: str = Field(default="none", description="none, a weights file, or a scheme of the recipe: SCHEME[:PLACE].")
    model: dict[str, Any] = Field(default_factory=dict)
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig


def run_config(recipe: RecipeSpec, *tables: Mapping[str, Any]) -> RunConfig:
    """Merge a recipe's defaults with tables as in a run file, later ones winning.

    Raises:
        SettingsError: A key is unknown or a value is out of range.
    """
    if recipe.parts:
        raise SettingsError(
            f"{recipe.name} is an ensemble of {', '.join(recipe.parts)}: `affect-train run {recipe.name}` trains them; "
            f"anything else takes their recipes, {', '.join(sorted({str(p['recipe']) for p in recipe.parts.values()}))}"
        )
    merged: dict[str, Any] = {name: dict(getattr(recipe, name)) for name in TABLES}
    init = recipe.init
    for table in tables:
        unknown = set(table) - {*TABLES, "recipe", "init"}
        if unknown:
            raise SettingsError(f"a run has the tables {', '.join(TABLES)}, not {', '.join(sorted(unknown))}")
        for name in TABLES:
            if not isinstance(table.get(name, {}), Mapping):
                raise SettingsError(f"{name} is a table, [{name}], not {table[name]!r}")
            merged[name].update(table.get(name, {}))
        init = table.get("init", init)
    try:
        return RunConfig.model_validate({"recipe": recipe.name, "init": init, **merged})
    except ValidationError as exc:
        raise SettingsError(first_problem(exc, "run")) from exc


def read_run_file(path: Path) -> dict[str, Any]:
    """Read a run file: `recipe`, `init` and the tables model, data, augment, train.

    Args:
        path: TOML; or, named `.json`, what `--dry-run` prints, or the `run.json` of a run, whose `config` is read.

    Raises:
        SettingsError: Neither, or no recipe named.
    """
    written_as_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = json.loads(text) if written_as_json else tomllib.loads(text)
    except (OSError, ValueError) as exc:  # both decoders' errors are ValueErrors
        raise SettingsError(f"{path}: {exc}") from exc
    if written_as_json and isinstance(table, dict):
        table = table.get("config", table)
    if not isinstance(table, dict) or "recipe" not in table:
        raise SettingsError(f'{path}: expected {"a key" if written_as_json else "a line"} `recipe = "NAME"`')
    for key, kind, what in (("recipe", str, "a name"), ("init", str, "a word"), ("parts", dict, "a table")):
        if key in table and not isinstance(table[key], kind):
            raise SettingsError(f"{path}: {key} is {what}, not {table[key]!r}")
    return table


def parse_assignments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Turn `lr=0.02` (the table train) or `augment.mirror=true` into tables; values are TOML, bare words strings.

    `parts.NAME.lr=0.02`, `parts.NAME.model.side=64` and `parts.NAME.init=PLACE` are for one part of an ensemble.

    Raises:
        SettingsError: No equals sign, or no such table.
    """
    tables: dict[str, Any] = {name: {} for name in TABLES}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set wants KEY=VALUE, got {pair!r}")
        *path, name = key.split(".")
        here = tables
        if len(path) in (2, 3) and path[0] == "parts":
            here = tables.setdefault("parts", {}).setdefault(path[1], {})
            path = path[2:]
            if not path and name == "init":
                here["init"] = text
                continue
        if path not in ([], *([table] for table in TABLES)):
            raise SettingsError(f"--set {key}: keys are TABLE.NAME, with a table of {', '.join(TABLES)}")
        here.setdefault(path[0] if path else "train", {})[name] = setting_of(text)
    return tables


def setting_of(text: str) -> Any:
    """Read a TOML value; numbers may begin with their point, and what is no TOML is a string."""
    for written in (text, _BARE_POINT.sub("0.", text)):
        try:
            return tomllib.loads(f"value = {written}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    return text
