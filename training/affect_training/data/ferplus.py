"""FER+ (Barsoum et al. 2016): ten people's votes on every face of FER2013.

`fer2013new.csv` has the columns `Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,
unknown,NF`; its row i belongs to row i of FER2013. Seven of its classes are ours; contempt, unknown and NF (not a face)
do not count.
"""

import csv
from pathlib import Path

import numpy as np

from affect.errors import MediaError
from affect.labels import EMOTIONS, Emotion
from affect.types import FloatArray
from affect_training.data.faces import SPLITS, FaceTable
from affect_training.data.fer2013 import open_text

NAMES = ("fer2013new.csv", "fer2013new.csv.gz")
COLUMNS = {
    "neutral": Emotion.NEUTRAL,
    "happiness": Emotion.HAPPY,
    "surprise": Emotion.SURPRISE,
    "sadness": Emotion.SAD,
    "anger": Emotion.ANGRY,
    "disgust": Emotion.DISGUST,
    "fear": Emotion.FEAR,
}


def find_votes(data: Path) -> Path:
    """Return the FER+ file beside a data file, or in a data folder.

    Raises:
        MediaError: There is none.
    """
    folder = data if data.is_dir() else data.parent
    for name in NAMES:
        if (folder / name).exists():
            return folder / name
    raise MediaError(f"{folder}: expected {NAMES[0]}, the FER+ votes, beside the data (github.com/microsoft/FERPlus)")


def read_votes(path: Path, table: FaceTable) -> FloatArray:
    """Return the votes of a table's rows as float32 [N, 7], each row a distribution or, without a vote, all zeros.

    Raises:
        MediaError: A missing column, a vote that is no count, another number of rows than the table, or a row whose
            Usage is not the table's; names file and row.
    """
    counts: list[list[int]] = []
    with open_text(path) as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, ())]
        if {"Usage", *COLUMNS} - set(names):
            raise MediaError(f"{path}: expected columns Usage,{','.join(COLUMNS)}, got {','.join(names)}")
        usage = names.index("Usage")
        places = [names.index(name) for name in COLUMNS]
        for row in reader:
            if not row:
                continue
            where = f"{path}, row {reader.line_num}"
            row += [""] * (len(names) - len(row))
            words = [row[place].strip() for place in places]
            if not all(word.isascii() and word.isdigit() for word in words):
                raise MediaError(f"{where}: expected a number of votes in each of {','.join(COLUMNS)}, got {words}")
            if len(counts) < len(table) and row[usage].strip() != SPLITS[table.usage[len(counts)]]:
                expected = SPLITS[table.usage[len(counts)]]
                raise MediaError(f"{where}: expected Usage {expected} as in the data, got {row[usage].strip()!r}")
            counts.append([int(word) for word in words])
    if len(counts) != len(table):
        raise MediaError(f"{path}: expected {len(table)} rows, one for each row of the data, got {len(counts)}")
    votes = np.zeros((len(counts), len(EMOTIONS)), np.float32)
    votes[:, [EMOTIONS.index(emotion) for emotion in COLUMNS.values()]] = np.array(counts, np.float32)
    return np.asarray(votes / np.maximum(votes.sum(axis=1, keepdims=True), 1), np.float32)
