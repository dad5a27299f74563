"""What a run trains on: Training and the auxiliary sets, without leaks, balanced; as its settings say."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

from affect.errors import SettingsError
from affect_training.config import RunConfig
from affect_training.data.faces import SPLITS, FaceData, Split


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The faces that a run trains on.

    Attributes:
        split: The faces; batches hold indices into it.
        aux_sha256: {auxiliary set: of what was read}.
        made_of: Faces by where they come from: `Training`, then what `auxiliary`, `leaks` and `balance` added or, below
            0, dropped.
    """

    split: Split
    aux_sha256: dict[str, str] = field(default_factory=dict)
    made_of: dict[str, int] = field(default_factory=dict)


def training_set(data: FaceData, config: RunConfig, aux: Path | None = None, cache: Path | None = None) -> TrainingSet:
    """Put together what a run trains on; FER2013's leaks take about a minute, SMOTETomek about five.

    Args:
        data: Faces with Training.
        config: The run's.
        aux: Folder below which `config.data.aux` lies.
        cache: Folder for the parsed auxiliary sets; None parses them anew.

    Raises:
        SettingsError: Auxiliary sets without a folder, or SMOTE with too few faces of a class.
        MediaError: An auxiliary set cannot be read.
    """
    split, sha256 = data.split(SPLITS[0]), dict[str, str]()
    made_of = {SPLITS[0]: len(split)}
    if config.data.aux:
        if aux is None:
            raise SettingsError(f"data.aux names {', '.join(config.data.aux)}; say where they are: --aux FOLDER")
        from affect_training.data.auxiliary import load_aux

        more = load_aux(config.data.aux, aux, weight=config.data.aux_weight, cache=cache)
        split, sha256 = split.join(more.split), more.sha256
        made_of["auxiliary"] = len(more.split)
    if config.data.drop_leaks:  # auxiliary faces leak too: collections from the web share their sources
        from affect_training.data.leaks import leaking

        leaks = leaking(split, data)
        split = split.take(~leaks)
        made_of["leaks"] = -int(leaks.sum())
    if config.train.balance != "none":
        from affect_training.data.balance import balanced_split

        before = len(split)
        split = balanced_split(split, config.train.balance, config.train.seed)
        made_of["balance"] = len(split) - before
    return TrainingSet(split, sha256, made_of)


def described(faces: TrainingSet, data: FaceData) -> list[str]:
    """Say what faces these are, a line each; nothing when they are simply all that Training has."""
    (name, count), *others = faces.made_of.items()
    lines = []
    if others:
        parts = ", ".join([f"{name} {count:,}", *(f"{other} {change:+,}" for other, change in others)])
        lines.append(f"{len(faces.split):,} faces to train on: {parts}")
    if blank := sum(data.blank.values()):
        lines.append(f"{blank} blank images are dropped: {', '.join(f'{s} {n}' for s, n in data.blank.items() if n)}")
    return lines


def training_key(config: RunConfig) -> Hashable:
    """Return what of a run's settings decides `training_set`: equal for runs over equal faces."""
    balance = config.train.balance
    return config.data.model_dump_json(), balance, None if balance == "none" else config.train.seed
