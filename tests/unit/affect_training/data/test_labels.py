import pytest
from affect_training.data.labels import LabelMap

from affect.errors import SettingsError
from affect.labels import EMOTIONS


def test_our_names_and_their_variants_mean_themselves() -> None:
    labels = LabelMap()
    assert [labels.number(emotion) for emotion in EMOTIONS] == list(range(7))
    words = ("Anger", "disgusted", "FEARFUL", " happiness", "sadness", "surprised", "Neutral")
    assert [labels.number(word) for word in words] == list(range(7))


def test_a_set_may_mean_something_else() -> None:
    labels = LabelMap({"1": "surprise", "Contempt": "ignore", "fear": "Sad"})
    assert labels.number("1") == 5
    assert labels.number("contempt") is None
    assert labels.number("fear") == 4
    assert labels.number("happy") == 3


def test_an_unknown_label_is_an_error() -> None:
    with pytest.raises(KeyError):
        LabelMap().number("contempt")


def test_an_unknown_meaning_is_told() -> None:
    with pytest.raises(SettingsError, match=r"label map, '1': expected one of angry, .* or ignore, got 'rage'"):
        LabelMap({"1": "rage"})
