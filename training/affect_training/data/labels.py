"""Words of other data sets -> our seven emotions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from affect.errors import SettingsError
from affect.labels import EMOTIONS, Emotion

IGNORE = "ignore"
_WORDS: dict[str, Emotion] = {
    **{emotion.value: emotion for emotion in EMOTIONS},
    "anger": Emotion.ANGRY,
    "disgusted": Emotion.DISGUST,
    "fearful": Emotion.FEAR,
    "happiness": Emotion.HAPPY,
    "joy": Emotion.HAPPY,
    "sadness": Emotion.SAD,
    "surprised": Emotion.SURPRISE,
}


@dataclass(frozen=True, slots=True)
class LabelMap:
    """What the labels of a data set mean.

    The seven names of `EMOTIONS` and their usual variants (anger, happiness, ...) mean themselves, whatever their
    case; a set's own map comes first.

    Attributes:
        own: {label of the set: emotion, or "ignore" for faces that are left out}.
    """

    own: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label, meaning in self.own.items():
            if meaning.lower() not in (*_WORDS, IGNORE):
                raise SettingsError(
                    f"label map, {label!r}: expected one of {', '.join(EMOTIONS)} or {IGNORE}, got {meaning!r}"
                )

    def number(self, label: str) -> int | None:
        """Return a label's number in the order of `EMOTIONS`, or None when its faces are left out.

        Raises:
            KeyError: The label is unknown.
        """
        own = {key.strip().lower(): meaning.lower() for key, meaning in self.own.items()}
        word = label.strip().lower()
        meaning = own.get(word, word)
        return None if meaning == IGNORE else EMOTIONS.index(_WORDS[meaning])

    def known(self) -> str:
        """Return the labels that mean something, for messages."""
        return ", ".join([*self.own, *(emotion.value for emotion in EMOTIONS)])
