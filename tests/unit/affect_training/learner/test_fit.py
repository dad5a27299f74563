"""What a fit is made with and judged on; whole fits are run by the commands' tests."""

import pytest
from affect_training.learner.fit import configured, variants_of
from affect_training.learner.heads import HeadOptions
from affect_training.learner.labels import Labelled, LabelledSet
from affect_training.learner.study import study

from affect.errors import SettingsError
from affect.plugins import PluginHost
from affect.settings import PluginSettings, Settings
from affect.settings.learner import HmmSettings


def test_a_fit_is_made_with_what_is_set_for_the_estimators() -> None:
    tables = {"hmm": {"min_share": 0.1}, "fitted": {"tau_heads_s": 5.0}}
    hmm, fitted = configured(PluginHost(PluginSettings.model_validate(tables)))
    assert (hmm.min_share, fitted.min_share, fitted.tau_heads_s) == (0.1, 0.1, 5.0)
    variants = {variant.name: variant for variant in variants_of(hmm, fitted)}
    assert variants["heads"].settings is fitted
    assert variants["emission refitted"].settings is hmm
    past = variants["heads, in a row, person's past subtracted"].settings
    assert past == fitted.model_copy(update={"person_weight": 1.0})


def test_a_fit_is_not_judged_on_people_it_has_seen() -> None:
    def of(split: str, *people: str) -> LabelledSet:
        items = tuple(Labelled(f"{name}.png", name, "1", {}, b"") for name in people)
        return LabelledSet("d", split, "faces", items, "0")

    one, other = of("train", "a", "b", "c"), of("val", "c", "d")
    with pytest.raises(SettingsError, match="1 people are in train and in val, 'c' for one"):
        study(one, [], other, [], Settings(), HeadOptions(), 1.0, (), HmmSettings())
