"""The tables of settings in docs/ have every setting once, with the default that the code has."""

import json
import re

import pytest
from affect_ensemble.plugin import EnsembleSettings
from pydantic import BaseModel
from support.documents import DOCS, table, tables

from affect.labels import EMOTIONS, STATES, Emotion
from affect.settings import PluginSettings, Settings
from affect.settings.learner import EventSettings, FittedSettings, HmmSettings, LearnerSettings
from affect.settings.load import leaves
from affect.settings.vision import HaarSettings, MtcnnSettings, YunetSettings

HMM, CIRCUMPLEX, EVENTS = HmmSettings(), LearnerSettings().circumplex, EventSettings()

# Rows that show no default of their own. All but `learner.fit`, which has none, point to tables compared below.
POINTERS = {
    "plugins.hmm.base_rates": "see the next table",
    "plugins.hmm.half_lives_s": "see the next table",
    "plugins.hmm.affinities": "see below",
    "plugins.hmm.emission": "see below; the backend's fit, if it has one",
    "plugins.hmm.class_shares": "FER2013's",
    "plugins.hmm.host_evidence": "see below",
    "learner.fit": "the one in the backend's sidecar",
    "learner.circumplex.valence": "see below",
    "learner.circumplex.arousal": "see below",
    "learner.events.timing": "see the next table",
}
UNITS = {"learner.max_yaw": " degrees", "plugins.fitted.person_prior": " observations"}


def keys(cell: str) -> list[str]:
    """Return the settings of a row; one that follows another, `a.b`, `c`, is of the same table."""
    first, *others = re.findall(r"`([^`]+)`", cell)
    return [first, *(f"{first.rpartition('.')[0]}.{name}" for name in others)]


def shown(cell: str) -> object:
    """Read a default as it is written for people: .5, [.6, .7], `word`, a, b; empty for none."""
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", cell.replace("`", ""))
    try:
        return json.loads(text or '""')
    except ValueError:
        return text.split(", ") if ", " in text else text


def plain(default: object) -> object:
    """Bring a default into the form of `shown`."""
    if isinstance(default, tuple):
        return list(default)
    return "" if default is None else default


def rows() -> list[tuple[str, str]]:
    """Return (setting, default as written) of all tables that show defaults."""
    found = []
    for page in ("operations.md", "vision.md", "learner-model.md"):
        for first, *lines in tables(page):
            if first[0] == "setting":
                assert first[1] in ("default", "value"), page
                found += [(key, line[1]) for line in lines for key in keys(line[0])]
    return found


def defaults() -> dict[str, object]:
    """Return what the code has for the settings of these tables."""
    models: dict[str, BaseModel] = {
        "plugins.mtcnn.": MtcnnSettings(),
        "plugins.haar.": HaarSettings(),
        "plugins.yunet.": YunetSettings(),
        "plugins.hmm.": HMM,
    }
    found = {key: value for key, value, _ in leaves(Settings()) if not key.startswith("plugins.")}
    for prefix, model in models.items():
        found |= {key: value for key, value, _ in leaves(model, prefix)}
    own = set(FittedSettings.model_fields) - set(HmmSettings.model_fields)
    return found | {f"plugins.fitted.{name}": FittedSettings.model_fields[name].default for name in own}


def test_every_setting_has_one_row() -> None:
    names = [key for key, _ in rows()]
    assert sorted(names) == sorted(defaults())


def test_pointers_are_rows_that_show_no_default() -> None:
    assert {key: cell for key, cell in rows() if key in POINTERS} == POINTERS


@pytest.mark.parametrize(("key", "cell"), [row for row in rows() if row[0] not in POINTERS])
def test_the_default_of_a_row_is_that_of_the_code(key: str, cell: str) -> None:
    assert cell.endswith(UNITS.get(key, ""))
    assert shown(cell.removesuffix(UNITS.get(key, ""))) == plain(defaults()[key])


def test_limits_of_pictures_are_those_of_the_settings() -> None:
    named = dict(re.findall(r"`(vision\.\w+)`, ([\d,]+)", " ".join(row[1] for row in table("vision.md", "check"))))
    assert set(named) == {"vision.max_pixels", "vision.min_side"}
    assert {key: int(cell.replace(",", "")) for key, cell in named.items()} == {key: defaults()[key] for key in named}


def test_tables_without_defaults_name_settings_that_there_are() -> None:
    plugins = [row[0] for row in table("plugins.md", "setting", "environment", "meaning")]
    assert plugins == [f"`plugins.{name}`" for name in PluginSettings.model_fields]
    ensemble = {row[0].strip("`") for row in table("plugins.md", "setting", "meaning")}
    assert ensemble | {"members", "manifest"} == set(EnsembleSettings.model_fields)  # these two are in the example


def test_no_other_page_has_a_table_of_settings() -> None:
    count = {page.name: sum(first[0] == "setting" for first, *_ in tables(page.name)) for page in DOCS.glob("*.md")}
    assert {page: number for page, number in count.items() if number} == {
        "operations.md": 1,
        "vision.md": 2,
        "learner-model.md": 1,
        "plugins.md": 2,
        "training-settings.md": 1,  # made by a command, see test_training_settings.py
    }


# What the pointers point to


def numbers(cells: list[str]) -> list[float | None]:
    return [float(cell) if cell else None for cell in cells]


def test_states_have_their_rates_and_times() -> None:
    timing = EVENTS.timing
    expected = [
        [
            HMM.base_rates[state],
            HMM.half_lives_s[state],
            timing[state].dwell_s if state in timing else None,
            timing[state].cooldown_s if state in timing else None,
        ]
        for state in STATES
    ]
    written = table("learner-model.md", "state", "base rate", "half-life s", "dwell s", "cool-down s")
    assert [row[0] for row in written] == [state.value for state in STATES]
    assert [numbers(row[1:]) for row in written] == expected


def test_affinities_are_all_named() -> None:
    text = (DOCS / "learner-model.md").read_text("utf-8").split("Affinities, both ways; 1 when not named:")[1]
    pairs = re.findall(r"([a-z]+-[a-z]+)\s+(\d*\.?\d+)", text.split("\n\n")[0])
    assert {pair: float(factor) for pair, factor in pairs} == HMM.affinities


def test_emission_is_that_of_the_design() -> None:
    written = table("learner-model.md", "state", *(emotion.value for emotion in EMOTIONS))
    assert {row[0]: tuple(numbers(row[1:])) for row in written} == HMM.emission


def test_emotions_have_their_shares_and_moods() -> None:
    written = table("learner-model.md", "emotion", *(emotion.value for emotion in EMOTIONS))
    by_row: dict[str, dict[Emotion, float]] = {
        "class share": HMM.class_shares,
        "valence": CIRCUMPLEX.valence,
        "arousal": CIRCUMPLEX.arousal,
    }
    expected = {name: [values[emotion] for emotion in EMOTIONS] for name, values in by_row.items()}
    assert {row[0]: numbers(row[1:]) for row in written} == expected


def test_host_evidence_has_its_likelihoods() -> None:
    written = table("learner-model.md", "kind", *(state.value for state in STATES))
    expected = {kind: [likely[state] for state in STATES] for kind, likely in HMM.host_evidence.items()}
    assert {row[0].strip("`"): numbers(row[1:]) for row in written} == expected
