"""Labelled learners on disk: faces (labels.csv + faces.tar or folders), or clips in DAiSEE's own layout.

Faces: DIR/labels.csv with file,split,subject,clip and a level 0-3 of each state; the files lie in DIR or in DIR/*.tar.
Clips: DIR/Labels/TrainLabels.csv (Validation, Test, All) with ClipID,Boredom,Engagement,Confusion,Frustration and
DIR/DataSet/Train/PERSON/CLIP/CLIP.avi.
"""

import csv
import hashlib
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affect.errors import MediaError, SettingsError
from affect.labels import LearnerState
from affect_training.learner.auc import JUDGED, Ints

_VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm")
_SPLITS = {"train": "Train", "val": "Validation", "validation": "Validation", "test": "Test"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One judged face or clip: a picture's bytes or a video's path, and a level 0-3 of each judged state."""

    name: str
    person: str
    clip: str
    levels: Mapping[LearnerState, int]
    source: bytes | Path


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Faces or clips of one split, ordered by person and clip; `source` is the folder's name."""

    source: str
    split: str
    kind: str
    items: tuple[Labelled, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.items)

    @property
    def people(self) -> list[str]:
        """Whose each is [N]."""
        return [item.person for item in self.items]

    def levels(self) -> dict[LearnerState, Ints]:
        """Return the levels of each state [N]."""
        return {state: np.array([item.levels[state] for item in self.items], np.int64) for state in JUDGED}

    def __str__(self) -> str:
        return f"{len(self)} {self.kind} of {len(set(self.people))} people, {self.source} {self.split}"


def read_labelled(folder: Path, split: str) -> LabelledSet:
    """Read a split, whichever layout it has.

    Raises:
        SettingsError: The folder is of neither layout, or has no such split.
        MediaError: Labels or files are missing or wrong; names the row.
    """
    if (folder / "labels.csv").is_file():
        return read_faces(folder, split)
    if (folder / "Labels").is_dir():
        return read_clips(folder, split)
    raise SettingsError(
        f"{folder}: expected labels.csv with faces.tar or the files it names, or DAiSEE's folders Labels and DataSet"
    )


def read_faces(folder: Path, split: str) -> LabelledSet:
    """Read labelled face crops."""
    path = folder / "labels.csv"
    rows = _rows(path, {"file", "subject", *(state.value for state in JUDGED)})
    names = sorted({_split_of(row) for row in rows})
    chosen = [row for row in rows if _split_of(row) == split]
    if not chosen:
        raise SettingsError(
            f"{path}: no split {split!r}; it has {', '.join(name or 'rows without one' for name in names)}"
        )
    pictures = _pictures(folder, [row["file"] for row in chosen])
    items = [
        Labelled(
            name=row["file"],
            person=row["subject"],
            clip=row.get("clip") or row["file"],
            levels={state: _level(row[state.value], path, row["file"]) for state in JUDGED},
            source=pictures[row["file"]],
        )
        for row in chosen
    ]
    return _ordered(folder, split, "faces", items)


def read_clips(folder: Path, split: str) -> LabelledSet:
    """Read labelled clips; clips that are labelled but not there are left out, unless all are."""
    title = _SPLITS.get(split.lower(), split)
    path = folder / "Labels" / f"{title}Labels.csv"
    if not path.is_file():
        there = sorted(p.name.removesuffix("Labels.csv") for p in (folder / "Labels").glob("*Labels.csv"))
        raise SettingsError(f"{path}: no such file; splits here: {', '.join(there) or 'none'}")
    columns = {state: state.value.capitalize() for state in JUDGED}
    items = []
    rows = _rows(path, {"ClipID", *columns.values()})
    for row in rows:
        name = Path(row["ClipID"])
        person = _person_of(name.stem)
        base = folder / "DataSet" / title / person / name.stem
        video = next((p for suffix in _VIDEOS if (p := base / f"{name.stem}{suffix}").is_file()), None)
        if video is not None:
            levels = {state: _level(row[column], path, row["ClipID"]) for state, column in columns.items()}
            items.append(Labelled(row["ClipID"], person, name.stem, levels, video))
    if not items:
        raise MediaError(f"{folder / 'DataSet' / title}: none of the {len(rows)} clips of {path.name} is here")
    return _ordered(folder, split, "clips", items)


def _person_of(clip: str) -> str:
    """DAiSEE's clips begin with the six digits of their person."""
    return clip[:6]


def _ordered(folder: Path, split: str, kind: str, items: Sequence[Labelled]) -> LabelledSet:
    ordered = sorted(items, key=lambda item: (item.person, item.clip, item.name))
    digest = hashlib.sha256()
    for item in ordered:
        levels = ",".join(str(item.levels[state]) for state in JUDGED)
        digest.update(f"{item.name},{item.person},{levels}\n".encode())
        digest.update(item.source if isinstance(item.source, bytes) else str(item.source.stat().st_size).encode())
    return LabelledSet(folder.resolve().name, split, kind, tuple(ordered), digest.hexdigest())


def _rows(path: Path, needed: set[str]) -> list[dict[str, str]]:
    """Read a CSV whose headings may carry blanks, as DAiSEE's do."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file)
            names = [name.strip() for name in next(table, [])]
            rows = [dict(zip(names, (value.strip() for value in row), strict=False)) for row in table if row]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise MediaError(f"{path}: {exc}") from exc
    if missing := needed - set(names):
        raise MediaError(f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(names)}")
    if short := [k for k, row in enumerate(rows, start=2) if not needed <= set(row)]:
        raise MediaError(f"{path}: line {short[0]} has fewer columns than the heading")
    return rows


def _split_of(row: Mapping[str, str]) -> str:
    """The column `split`, or the first folder of the file's name."""
    return row["split"] if "split" in row else row["file"].partition("/")[0] if "/" in row["file"] else ""


def _level(text: str, path: Path, name: str) -> int:
    if text not in {"0", "1", "2", "3"}:
        raise MediaError(f"{path}: {name}: a level is 0, 1, 2 or 3, not {text!r}")
    return int(text)


def _pictures(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of each file: from the folder, else from any tar archive in it."""
    found = {name: path.read_bytes() for name in names if (path := folder / name).is_file()}
    for archive in sorted(folder.glob("*.tar")):
        if wanted := set(names) - set(found):
            try:
                with tarfile.open(archive) as tar:
                    for member in tar:
                        name = member.name.removeprefix("./")
                        if name in wanted and (file := tar.extractfile(member)) is not None:
                            found[name] = file.read()
            except (tarfile.TarError, OSError, EOFError) as exc:
                raise MediaError(f"{archive}: cannot be read as a tar file: {exc}") from exc
    if missing := [name for name in names if name not in found]:
        raise MediaError(
            f"{folder}: {len(missing)} of {len(names)} files are neither here nor in a .tar: {missing[0]}, …"
        )
    return found
