from typing import Any

import pytest
from pydantic import ValidationError

from affect.labels import STATES
from affect.settings.fit import HeadsFile, LearnerFit
from affect.settings.learner import HmmSettings

EMISSION = {state.value: list(row) for state, row in HmmSettings().emission.items()}
TABLE: dict[str, Any] = {
    "backend": "cnn",
    "weights_sha256": None,
    "emission": EMISSION,
    "emission_prior": 500,
    "data": "",
    "data_sha256": "",
    "faces": 1,
    "people": 1,
}
HEADS: dict[str, Any] = {
    "file": "cnn.learner.safetensors",
    "sha256": "",
    "states": ["boredom"],
    "embedding": 3,
    "readings": ["yaw"],
}


def test_a_document_comes_back_from_json() -> None:
    fit = LearnerFit.model_validate({**TABLE, "heads": HEADS})
    assert LearnerFit.model_validate_json(fit.model_dump_json()) == fit
    assert set(fit.emission) == set(STATES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emission": {k: v for k, v in EMISSION.items() if k != "boredom"}}, "a row for each of"),
        ({"emission": {**EMISSION, "boredom": [0.5] * 7}}, "sum to 1"),
        ({"emission": {**EMISSION, "boredom": [0.0, *[1 / 6] * 6]}}, "positive"),
        ({"format": 2}, "Input should be 1"),
        ({"emission_prior": -1}, "greater than or equal to 0"),
        ({"model": "x"}, "Extra inputs"),
        ({"heads": {**HEADS, "file": "../x.safetensors"}}, "without folders"),
        ({"heads": {**HEADS, "states": []}}, "at least 1"),
    ],
)
def test_what_is_no_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LearnerFit.model_validate({**TABLE, **change})


def test_heads_name_a_file_beside_the_document() -> None:
    assert HeadsFile.model_validate(HEADS).file == "cnn.learner.safetensors"
