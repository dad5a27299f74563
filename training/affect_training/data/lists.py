"""Lists of pictures: a text file with a path and a label in each row, as AffectNet and RAF-DB come.

Recognised as they are:

    RAF-DB      a folder (or the file) with `list_patition_label.txt`, rows "train_00001.jpg 5": labels 1-7; names that
                start with train_ are Training, with test_ PrivateTest; the pictures are `train_00001_aligned.jpg` in
                `Image/aligned` beside the list's folder, or in the list's own folder with or without `_aligned`.
    AffectNet   a folder with `training.csv` (Training) and `validation.csv` (PublicTest), either one or both, with the
                columns subDirectory_filePath, face_x, face_y, face_width, face_height, expression: labels 0-6;
                contempt (7), none (8), uncertain (9) and no face (10) are left out.

Anything else is told by a TOML file: `faces.toml` in the folder, or beside the list with the suffix .toml:

    [labels]                                  # what its labels mean; "ignore" leaves faces out
    joy = "happy"
    contempt = "ignore"

    [list]
    files = {"train.csv" = "Training", "val.csv" = "PublicTest"}    # by default the list beside the TOML, Training
    images = "pictures"                       # the folder that paths start from
    path = "file"                             # columns, by name, or by number from 0 in a list without a header
    label = "expression"
    box = ["x", "y", "w", "h"]                # of the face, pixels; optional
    split = "usage"                           # a column with the split's name; optional
    group = "skin_tone"                       # a column that groups faces for reports; optional
    separator = ","                           # " " stands for any white space
"""

import csv
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affect.errors import MediaError, SettingsError, first_problem
from affect_training.data.faces import SPLITS
from affect_training.data.fer2013 import columns, open_text
from affect_training.data.folders import SPLIT_NAMES
from affect_training.data.labels import IGNORE, LabelMap
from affect_training.data.pictures import Box, PictureFile

Column = str | Annotated[int, Field(ge=0)]


class ListTable(BaseModel):
    """How to read a list; see the module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, str] = Field(default_factory=dict, description='{list: split}; "" where its rows tell the split.')
    images: str = "."
    path: Column
    label: Column
    box: tuple[Column, Column, Column, Column] | None = None
    split: Column | None = None
    split_of_prefix: dict[str, str] = Field(default_factory=dict, description="{start of a file's name: split}")
    group: Column | None = None
    separator: str = Field(default=",", min_length=1, max_length=1)
    ending: str = Field(default="", description="Put between a file's name and its suffix, as RAF-DB's _aligned.")

    def has_header(self) -> bool:
        """Whether columns are named, so that the first row is a header."""
        return isinstance(self.path, str)


class SetFile(BaseModel):
    """The TOML file beside a set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[str, str] = Field(default_factory=dict)
    list: ListTable | None = None


@dataclass(frozen=True, slots=True)
class ListSet:
    """A list set found: its table, what its labels mean, and the folder that its names start from."""

    table: ListTable
    labels: LabelMap
    folder: Path


RAF_DB = ListTable(
    files={"list_patition_label.txt": ""},
    path=0,
    label=1,
    separator=" ",
    split_of_prefix={"train_": "Training", "test_": "PrivateTest"},
)
RAF_DB_LABELS = LabelMap(
    dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), strict=True))
)
AFFECTNET_FILES = {"training.csv": "Training", "validation.csv": "PublicTest"}
AFFECTNET = ListTable(
    path="subDirectory_filePath",
    label="expression",
    box=("face_x", "face_y", "face_width", "face_height"),
)
_AFFECTNET_COLUMNS = {AFFECTNET.path, AFFECTNET.label}
AFFECTNET_LABELS = LabelMap(
    {
        **dict(zip("0123456", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"), strict=True)),
        **dict.fromkeys(("7", "8", "9", "10"), IGNORE),
    }
)


def read_set_file(path: Path) -> SetFile:
    """Read a set's TOML file.

    Raises:
        SettingsError: Not TOML, or an unknown or wrong key; names file and key.
    """
    try:
        return SetFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc
    except ValidationError as exc:
        raise SettingsError(f"{path}, {first_problem(exc, 'file')}") from exc


def set_file(path: Path) -> SetFile:
    """Return what the TOML file of a folder, tar or list says; nothing when there is none."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    for found in (path / "faces.toml", plain.with_suffix(".toml") if path.name else None):
        if found is not None and found.is_file():
            return read_set_file(found)
    return SetFile()


def find_list(path: Path) -> ListSet | None:
    """Return the list set that a TOML file, a list or a folder is, or None."""
    told = read_set_file(path) if path.suffix == ".toml" else set_file(path)
    folder = path if path.is_dir() else path.parent
    if told.list is not None:
        table = told.list
        if not table.files:
            table = table.model_copy(update={"files": {_own_list(path).name: SPLITS[0]}})
        return ListSet(table, LabelMap(told.labels), folder)
    if path.suffix == ".toml":
        raise SettingsError(f"{path}: expected a table [list] with path and label")
    if path.name in RAF_DB.files or (path.is_dir() and _raf_db(path)):
        where = path.parent if path.is_file() else (_raf_db(path) or path)
        return ListSet(_raf_db_table(where), _own(RAF_DB_LABELS, told), where)
    if path.is_dir():
        found = {name: split for name, split in AFFECTNET_FILES.items() if _is_affectnet(path / name)}
        for name in AFFECTNET_FILES.keys() - found.keys():
            if (path / name).is_file() and (found or _AFFECTNET_COLUMNS & set(columns(path / name))):
                raise MediaError(
                    f"{path / name}: expected columns {AFFECTNET.path} and {AFFECTNET.label} as in AffectNet's "
                    f"lists, got {','.join(columns(path / name))[:200]}; mend its first line, or add a faces.toml"
                )
        if found:
            return ListSet(AFFECTNET.model_copy(update={"files": found}), _own(AFFECTNET_LABELS, told), path)
    elif _is_affectnet(path):
        split = AFFECTNET_FILES.get(path.name, SPLITS[0])
        return ListSet(AFFECTNET.model_copy(update={"files": {path.name: split}}), _own(AFFECTNET_LABELS, told), folder)
    return None


def _own(usual: LabelMap, told: SetFile) -> LabelMap:
    """Return what the labels of a known set mean, where its TOML file does not say otherwise."""
    return LabelMap({**usual.own, **told.labels})


def _own_list(path: Path) -> Path:
    if path.is_file() and path.suffix != ".toml":
        return path
    for suffix in (".csv", ".txt", ".csv.gz"):
        if path.with_suffix(suffix).is_file():
            return path.with_suffix(suffix)
    raise SettingsError(f"{path}: name the lists: [list] files = {{'train.csv' = 'Training'}}")


def _raf_db(folder: Path) -> Path | None:
    """Return the folder of RAF-DB's list in or below a folder."""
    places = (folder, folder / "EmoLabel", folder / "basic" / "EmoLabel")
    return next((place for place in places if (place / "list_patition_label.txt").is_file()), None)


def _raf_db_table(folder: Path) -> ListTable:
    for images in ("../Image/aligned", "Image/aligned", "aligned"):
        if (folder / images).is_dir():
            return RAF_DB.model_copy(update={"images": images, "ending": "_aligned"})
    ending = "_aligned" if any(folder.glob("*_aligned.jpg")) else ""
    return RAF_DB.model_copy(update={"ending": ending})


def _is_affectnet(path: Path) -> bool:
    return path.suffix == ".csv" and path.is_file() and set(columns(path)) >= _AFFECTNET_COLUMNS


def list_pictures(found: ListSet) -> list[PictureFile]:
    """List the pictures of a list set, in the order of its rows; rows whose label is ignored are left out.

    Raises:
        MediaError: A missing list or column, a short row, an unknown label or split, or a box that is no four numbers;
            names file and row.
    """
    files: list[PictureFile] = []
    for name, split in found.table.files.items():
        if split and split.lower() not in SPLIT_NAMES:
            raise SettingsError(f"{found.folder / name}: expected a split {', '.join(SPLIT_NAMES)}, got {split!r}")
        path = found.folder / name
        if not path.is_file():
            raise MediaError(f"{path}: no such file")
        for number, cells in _rows(path, found.table):
            file = _picture(cells, split, found, f"{path}, row {number}")
            if file is not None:
                files.append(file)
    if not files:
        raise MediaError(f"{found.folder}: expected faces in {', '.join(found.table.files)}, got none")
    return files


@dataclass(frozen=True, slots=True)
class _Cells:
    path: str
    label: str
    box: tuple[str, ...] | None
    split: str | None
    group: str


def _rows(path: Path, table: ListTable) -> Iterator[tuple[int, _Cells]]:
    """Yield (row as an editor counts, its cells)."""
    with open_text(path) as file:
        rows: Iterator[list[str]]
        if table.separator == " ":
            rows = (line.split() for line in file)
        else:
            rows = csv.reader(file, delimiter=table.separator)
        names = [name.strip() for name in next(rows, [])] if table.has_header() else []
        at = _places(names, table, path)
        for number, row in enumerate(rows, start=2 if table.has_header() else 1):
            if not row:
                continue
            if len(row) <= max(at.values()):
                raise MediaError(f"{path}, row {number}: expected {max(at.values()) + 1} columns, got {len(row)}")
            yield (
                number,
                _Cells(
                    row[at["path"]].strip(),
                    row[at["label"]].strip(),
                    tuple(row[at[f"box {k}"]].strip() for k in range(4)) if table.box else None,
                    row[at["split"]].strip() if table.split is not None else None,
                    row[at["group"]].strip() if table.group is not None else "",
                ),
            )


def _places(names: Sequence[str], table: ListTable, path: Path) -> dict[str, int]:
    wanted: dict[str, Column | None] = {
        "path": table.path,
        "label": table.label,
        "split": table.split,
        "group": table.group,
        **{f"box {k}": column for k, column in enumerate(table.box or ())},
    }
    places = {}
    for use, column in wanted.items():
        if column is None:
            continue
        if isinstance(column, int):
            places[use] = column
        elif column in names:
            places[use] = names.index(column)
        else:
            raise MediaError(f"{path}: expected a column {column!r}, got {','.join(names) or 'no header'}")
    return places


def _picture(cells: _Cells, split: str, found: ListSet, where: str) -> PictureFile | None:
    try:
        label = found.labels.number(cells.label)
    except KeyError as exc:
        raise MediaError(f"{where}: expected a label {found.labels.known()}, got {cells.label!r}") from exc
    if label is None:
        return None
    pure = PurePosixPath(cells.path.replace("\\", "/"))
    if not pure.name:
        raise MediaError(f"{where}: expected the path of a picture, got {cells.path!r}")
    named = cells.split or split
    if not named:
        prefixes = found.table.split_of_prefix
        named = next((s for prefix, s in prefixes.items() if pure.name.startswith(prefix)), "")
        if not named and prefixes:
            raise MediaError(f"{where}: expected a name that starts with {', '.join(prefixes)}, got {pure.name!r}")
    if named.lower() not in SPLIT_NAMES:
        raise MediaError(f"{where}: expected a split {', '.join(SPLIT_NAMES)}, got {named!r}")
    name = pure.with_name(f"{pure.stem}{found.table.ending}{pure.suffix}")
    path = found.folder / found.table.images / name
    if not path.is_file():
        raise MediaError(f"{where}: {path}: no such file")
    return PictureFile(path, f"{where}: {name}", label, SPLIT_NAMES[named.lower()], _box(cells.box, where), cells.group)


def _box(cells: tuple[str, ...] | None, where: str) -> Box | None:
    if cells is None:
        return None
    try:
        x, y, w, h = (float(cell) for cell in cells)
    except ValueError:
        x = y = w = h = math.nan
    if not all(map(math.isfinite, (x, y, w, h))):
        raise MediaError(f"{where}: expected a box of four numbers, got {cells}")
    return x, y, w, h
