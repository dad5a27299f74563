"""Labelled faces as arrays, for fitting: what the pipeline read in each, whose it is, and the levels of its states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from affect.errors import MediaError
from affect.labels import LearnerState
from affect.learner.evidence import FaceEvidence, face_evidence
from affect.learner.heads import readings
from affect.settings.learner import LearnerSettings
from affect.types import FrameFaces
from affect_training.learner.auc import Bools, Floats, Ints
from affect_training.learner.labels import LabelledSet

NEUTRAL, ENGAGEMENT = LearnerState.NEUTRAL, LearnerState.ENGAGEMENT
_TROUBLED = (LearnerState.BOREDOM, LearnerState.CONFUSION, LearnerState.FRUSTRATION)
FITTED = (NEUTRAL, ENGAGEMENT, LearnerState.CONFUSION, LearnerState.FRUSTRATION, LearnerState.BOREDOM)
"""States that labels speak of, neutral being the want of all others. Delight and surprise are not labelled."""


@dataclass(frozen=True, slots=True)
class LabelledFaces:
    """Faces that give evidence.

    Attributes:
        probabilities: Calibrated [N, 7].
        readings: `affect.learner.heads.READINGS` [N, K], NaN where missing.
        embedding: [N, D]; D is 0 when the backend has none.
        people: Number of the person [N], 0 to P - 1.
        levels: By judged state [N], 0-3.
    """

    probabilities: Floats
    readings: Floats
    embedding: Floats
    people: Ints
    levels: Mapping[LearnerState, Ints]

    def __len__(self) -> int:
        return len(self.people)

    def take(self, rows: Ints | Bools) -> "LabelledFaces":
        """Return some of the faces; people keep their numbers."""
        return LabelledFaces(
            self.probabilities[rows],
            self.readings[rows],
            self.embedding[rows],
            self.people[rows],
            {state: levels[rows] for state, levels in self.levels.items()},
        )

    def level(self, state: LearnerState) -> Floats:
        """Return how much of a state is there [N], 0-3; of neutral: 3 less the worst trouble."""
        if state is NEUTRAL:
            return np.asarray(3.0 - np.max([self.levels[s] for s in _TROUBLED], axis=0))
        return self.levels[state].astype(np.float64)

    def present(self, state: LearnerState) -> Bools:
        """Whether a state counts as there [N]: level 2 or 3; engagement 3; neutral without trouble and engagement."""
        if state is NEUTRAL:
            return np.asarray((self.level(NEUTRAL) == 3) & (self.levels[ENGAGEMENT] < 3))
        return np.asarray(self.levels[state] >= (3 if state is ENGAGEMENT else 2))

    def by_person(self) -> Floats:
        """Return weights [N] that sum to 1 and take the edge off: a person with n faces counts as sqrt(n)."""
        count = np.bincount(self.people)
        weights = 1 / np.sqrt(count[self.people])
        return np.asarray(weights / weights.sum())


def faces_of(data: LabelledSet, seen: Sequence[FrameFaces | None], settings: LearnerSettings) -> LabelledFaces:
    """Return the faces that the learner model would take for evidence.

    Args:
        data: The labels.
        seen: One frame an item; None where nothing was seen.
        settings: Which faces are usable.

    Raises:
        MediaError: None is.
    """
    found = [None if frame is None else face_evidence(frame.learner, settings) for frame in seen]
    rows = np.array([k for k, face in enumerate(found) if face is not None], np.int64)
    faces = [face for face in found if face is not None]
    if not faces:
        raise MediaError(f"{data.source} {data.split}: none of {len(data)} pictures has a usable face")
    _, people = np.unique(np.array(data.people), return_inverse=True)
    levels = data.levels()
    return LabelledFaces(
        np.array([face.probabilities for face in faces], np.float64).reshape(len(faces), 7),
        np.array([readings(face) for face in faces]).reshape(len(faces), -1),
        _embeddings(faces),
        people.astype(np.int64)[rows],
        {state: level[rows] for state, level in levels.items()},
    )


def _embeddings(faces: Sequence[FaceEvidence]) -> Floats:
    if not faces or any(face.embedding is None for face in faces):
        return np.empty((len(faces), 0))
    return np.array([face.embedding for face in faces], np.float64)
