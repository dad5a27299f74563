from typing import Any

import pytest
from pydantic import ValidationError

from affect.settings import PluginSettings, Settings


def test_a_plugins_table_is_what_is_left_over() -> None:
    plugins = PluginSettings.model_validate({"block": ["x"], "cnn": {"weights": "a"}})
    assert plugins.of("cnn") == {"weights": "a"}
    assert plugins.of("resnet") == {}
    assert plugins.block == ("x",)


def test_a_table_handed_out_is_a_copy() -> None:
    plugins = PluginSettings.model_validate({"cnn": {"weights": "a"}})
    plugins.of("cnn")["weights"] = "b"
    assert plugins.of("cnn") == {"weights": "a"}


def test_a_value_in_place_of_a_table_is_not_lost() -> None:
    assert PluginSettings.model_validate({"cnn": 3}).of("cnn") != {}


@pytest.mark.parametrize(
    "table",
    [
        {"cameras": {}},
        {"vision": {"x": 1}},
        {"inference": {"precision": "float16"}},
        {"inference": {"max_batch": 0}},
        {"plugins": {"prefer": ["cnn"]}},
    ],
)
def test_unknown_keys_and_wrong_values_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)


def test_defaults_are_the_bundled_parts() -> None:
    settings = Settings()
    assert (settings.vision.detector, settings.inference.backend, settings.learner.estimator) == (
        "mtcnn",
        "compact",
        "fitted",
    )
    assert settings.plugins.allow is None
