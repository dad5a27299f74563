"""The record of a training run, `run.json`: what the run was given, and what trained it.

It is written when a run starts and each time it goes on, and read by whoever resumes, exports or judges the run. This
module knows the file and what may not change under it; `affect_training.run` puts the facts together.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affect.errors import CheckpointError, MediaError, SettingsError, first_problem

if TYPE_CHECKING:
    from affect_training.data import FaceData

RUN_JSON = "run.json"
MEMBERS_JSON = "members.json"
"""In the folder of an ensemble recipe: who votes, the runs of its parts lying beside it."""
CHANGING = ("packages", "git_commit", "device", "processes")
"""Fields that may be others when a run goes on."""


class DataSet(BaseModel):
    """Which faces a run is trained on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = Field(description="How they come: fer2013, icml, csv, folders, list.")
    name: str | None = Field(default=None, description="Of the file or folder; None when they come from none.")
    aux: list[str] = Field(default_factory=list, description="Auxiliary sets.")

    @classmethod
    def of(cls, data: "FaceData", aux: Collection[str]) -> Self:
        """Describe the faces of a run with these auxiliary sets."""
        return cls(kind=data.kind, name=data.path.name if data.path else None, aux=list(aux))


class RunRecord(BaseModel):
    """The facts of run.json, in its order; older files lack those that have a default."""

    model_config = ConfigDict(extra="allow", frozen=True)

    architecture: str
    config: dict[str, Any] = Field(description="The run's `RunConfig`, perhaps of another version.")
    data_set: DataSet | None = Field(default=None, description="None: FER2013, when runs knew no other data.")
    data_sha256: str
    inputs_sha256: dict[str, str] = Field(default_factory=dict, description="Of what was given beside the data.")
    faces: dict[str, int] = Field(description="By split.")
    faces_trained_on: int | None = Field(default=None, description="With those of the auxiliary sets.")
    made_of: dict[str, int] | None = Field(default=None, description="Where those come from: `TrainingSet`.")
    blank_dropped: dict[str, int] = Field(description="Blank images, by split.")
    packages: dict[str, str] = Field(description="Versions.")
    git_commit: str | None = Field(description="None outside a checkout.")
    device: str
    processes: int = 1
    aux: str | None = Field(default=None, description="Folder of the auxiliary sets, when there are any.")
    earlier: list[dict[str, Any]] = Field(
        default_factory=list, description="What trained up to an epoch (`epochs`), as far as it was something else."
    )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of the run in a folder.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        try:
            return cls.model_validate(json.loads((folder / RUN_JSON).read_text(encoding="utf-8")))
        except (OSError, ValueError) as exc:
            if (folder / MEMBERS_JSON).exists():
                raise CheckpointError(
                    f"{folder}: an ensemble of runs, not the folder of one; name {folder / MEMBERS_JSON}, or a part"
                ) from exc
            why = first_problem(exc, RUN_JSON) if isinstance(exc, ValidationError) else str(exc)
            raise CheckpointError(f"{folder}: not the folder of a run ({why})") from exc

    def save(self, folder: Path) -> None:
        """Write the record into the folder of its run.

        Raises:
            UnwrittenError: It could not be written; what was there before is intact.
        """
        from affect_training.storage import save_text  # loads torch, which reading does without

        save_text(json.dumps(self.model_dump(), indent=2) + "\n", folder / RUN_JSON)

    def after(self, before: "RunRecord", epochs: int) -> Self:
        """Return this record with what is known of the first `epochs` epochs, when the run goes on from there."""
        kept = [entry for entry in before.earlier if entry.get("epochs", 0) < epochs]
        then = {key: getattr(before, key) for key in CHANGING}
        for entry in reversed(before.earlier):
            if entry.get("epochs", 0) >= epochs:  # the run has gone back, or nothing was trained since
                then |= entry
        changed = {key: then[key] for key in CHANGING if then[key] != getattr(self, key)}
        return self.model_copy(
            update={
                "inputs_sha256": {**before.inputs_sha256, **self.inputs_sha256},
                "earlier": [*kept, *([{"epochs": epochs, **changed}] if changed else [])],
            }
        )

    def check_data(self, folder: Path, sha256: str) -> None:
        """See that the run in a folder is judged on the data it was trained on.

        Raises:
            MediaError: They are others.
        """
        if self.data_sha256 != sha256:
            raise MediaError(
                f"{folder} was trained on data with sha256 {self.data_sha256[:16]}…, this is {sha256[:16]}…; name the "
                "data of the run"
            )

    def check_faces(self, folder: Path, sha256: str, faces: int | None) -> None:
        """See that the run in a folder goes on with the data and the number of faces (None: any) it was begun with.

        Raises:
            SettingsError: They are others.
        """
        if self.data_sha256 != sha256 or faces not in (None, self.faces_trained_on):
            raise SettingsError(
                f"{folder / RUN_JSON}: the run was begun with {self.faces_trained_on} faces of data with sha256 "
                f"{self.data_sha256[:16]}…, this is {'' if faces is None else f'{faces} of '}{sha256[:16]}…; name the "
                "same data, or --fresh"
            )

    def check_inputs(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """See that the run in a folder goes on with the inputs it was begun with; those it does not know pass.

        Raises:
            SettingsError: Some are others; names them.
        """
        others = [name for name, sha256 in inputs.items() if self.inputs_sha256.get(name, sha256) != sha256]
        if others:
            raise SettingsError(
                f"{folder / RUN_JSON}: the run was begun with other contents of: {', '.join(others)}; bring back what "
                "it was begun with, choose another --out folder, or --fresh"
            )
