"""The field's labels: seven basic emotions, seven learner states, phases and reasons of events.

Orders matter: every probability vector of length seven in this project follows `EMOTIONS` (FER2013's own
numbering) or `STATES`.
"""

from enum import StrEnum


class Emotion(StrEnum):
    """The seven classes of FER2013 (Goodfellow et al. 2013), in the order of its label numbers 0-6."""

    ANGRY = "angry"
    DISGUST = "disgust"
    FEAR = "fear"
    HAPPY = "happy"
    SAD = "sad"
    SURPRISE = "surprise"
    NEUTRAL = "neutral"


class LearnerState(StrEnum):
    """The seven learner states of the AutoTutor studies (D'Mello & Graesser 2012)."""

    NEUTRAL = "neutral"
    ENGAGEMENT = "engagement"
    CONFUSION = "confusion"
    FRUSTRATION = "frustration"
    BOREDOM = "boredom"
    DELIGHT = "delight"
    SURPRISE = "surprise"


class Phase(StrEnum):
    """Life cycle of a learner event: every onset is followed by exactly one offset."""

    ONSET = "onset"
    UPDATE = "update"
    OFFSET = "offset"


class OffsetReason(StrEnum):
    """Why a learner state ended."""

    DECAY = "decay"
    FACE_LOST = "face_lost"
    NO_EVIDENCE = "no_evidence"
    CONSENT_REVOKED = "consent_revoked"
    SESSION_END = "session_end"


class Presence(StrEnum):
    """Whether a face is in view; `unknown` until the first frames decide."""

    UNKNOWN = "unknown"
    PRESENT = "present"
    ABSENT = "absent"


class Evidence(StrEnum):
    """What an estimate rests on at this frame."""

    FACE = "face"
    HOST = "host"
    NONE = "none"


EMOTIONS: tuple[Emotion, ...] = tuple(Emotion)
STATES: tuple[LearnerState, ...] = tuple(LearnerState)
