"""Figures that were measured elsewhere: the JSON files of `affect-train evaluate` and `affect-train fullframe`."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affect.errors import SettingsError, first_problem
from affect.types import Calibration
from affect_training.evaluation.adversarial import Adversarial
from affect_training.evaluation.groups import GroupReport
from affect_training.evaluation.metrics import ClassReliability
from affect_training.evaluation.report import Interval, SingleView
from affect_training.evaluation.robustness import Robustness


class _Judged(BaseModel):
    """What every file of figures says; `source` is the name of the file, `data` of the data set, None for FER2013."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    source: str
    backend: str
    split: str = ""
    data: str | None = None
    weights_sha256: str | None = None
    fingerprint: str | None = None
    unseen: bool = False

    @property
    def faces(self) -> str:
        """Which faces it is of, in words; with `unseen`, those whose photograph is not in Training too."""
        split = f"{self.split} of {self.data}" if self.data else self.split
        return f"{split}, photographs not in Training" if self.unseen else split


class Evaluation(_Judged):
    """What is used of a JSON file of `affect-train evaluate`."""

    split: str
    tta: str
    n: int
    limit: int | None = None
    accuracy: float
    accuracy_ci95: Interval
    temperature: float | None = None
    power: float = 1.0
    macro_f1: float
    macro_recall: float
    ece: float
    nll: float
    ece_cross_fitted: float | None = None
    nll_cross_fitted: float | None = None
    confusion: list[list[int]] = Field(default_factory=list)
    class_reliability: dict[str, ClassReliability] = Field(default_factory=dict)
    single_view: SingleView | None = None
    robustness: Robustness | None = None
    adversarial: Adversarial | None = None
    groups: GroupReport | None = None

    @property
    def calibration(self) -> Calibration | None:
        """Temperature and power; None in older files."""
        return None if self.temperature is None else Calibration(self.temperature, self.power)

    @property
    def faces(self) -> str:
        """As above; with `limit`, a sample of them."""
        faces = super().faces
        return faces if self.limit is None else f"{faces}, a sample"


class WholePictures(_Judged):
    """What is used of a JSON file of `affect-train fullframe`; see `affect_training.fullframe.FullFrame`."""

    detector: str
    n: int
    found: int
    recall: float
    recall_ci95: Interval
    accuracy_first: float
    accuracy_tracked: float
    lost: int = 0
    accuracy_direct: float
    accuracy_direct_all: float
    difference_ci95: Interval
    missed: dict[str, tuple[int, int]]
    false_faces: int


Further = Evaluation | WholePictures


def read_evaluation(path: Path) -> Further:
    """Read a JSON file of `affect-train evaluate` or `affect-train fullframe`.

    Raises:
        SettingsError: No such file, or it is neither; names file and field.
    """
    try:
        content = {**json.loads(path.read_text(encoding="utf-8")), "source": path.name}
        return (WholePictures if "detector" in content else Evaluation).model_validate(content)
    except (OSError, ValueError, TypeError) as exc:
        why = first_problem(exc, "file") if isinstance(exc, ValidationError) else str(exc)
        raise SettingsError(
            f"{path}: expected a JSON file of `affect-train evaluate --json` or `fullframe --json` ({why})"
        ) from exc
