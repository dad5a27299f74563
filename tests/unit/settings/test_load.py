from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from affect.errors import ErrorCode, SettingsError
from affect.labels import LearnerState
from affect.settings import Settings
from affect.settings.learner import EventSettings, Timing
from affect.settings.load import leaves, load_settings, parse_value


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that no `affect.toml` of the developer's is found."""
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def error(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, overrides, environ or {})
    assert caught.value.code is ErrorCode.BAD_SETTING
    return caught.value.message


# Order


def test_without_sources_there_are_the_defaults() -> None:
    loaded = load_settings(environ={})
    assert loaded.settings == Settings()
    assert loaded.origins == {}
    assert loaded.origin("vision.detector") == "default"


def test_each_source_beats_the_one_before(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.toml",
        '[vision]\ndetector = "haar"\nmin_side = 30\nlost_s = 2.5\n[service]\nport = 1000\n',
    )
    loaded = load_settings(
        file,
        {"vision.detector": "mtcnn"},
        {"AFFECT_VISION__DETECTOR": "yunet", "AFFECT_VISION__MIN_SIDE": "40"},
    )
    vision = loaded.settings.vision
    assert (vision.detector, vision.min_side, vision.lost_s, vision.search_s) == ("mtcnn", 40, 2.5, 0.5)
    assert loaded.settings.service.port == 1000
    assert loaded.origin("vision.detector") == "command line"
    assert loaded.origin("vision.min_side") == "$AFFECT_VISION__MIN_SIDE"
    assert loaded.origin("vision.lost_s") == str(file)
    assert loaded.origin("vision.search_s") == "default"


def test_options_that_were_not_given_change_nothing() -> None:
    loaded = load_settings(None, {"vision.detector": None}, {"AFFECT_VISION__DETECTOR": "haar"})
    assert loaded.settings.vision.detector == "haar"
    assert loaded.origin("vision.detector") == "$AFFECT_VISION__DETECTOR"


def test_the_file_of_the_working_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path / "affect.toml", "[service]\nport = 1001")
    assert load_settings(environ={}).settings.service.port == 1001


def test_a_named_file_replaces_the_one_of_the_working_folder(tmp_path: Path) -> None:
    write(tmp_path / "affect.toml", "[service]\nport = 1001\nring = 9")
    by_env = write(tmp_path / "env.toml", "[service]\nport = 1002")
    by_option = write(tmp_path / "option.toml", "[service]\nport = 1003")
    environ = {"AFFECT_CONFIG": str(by_env)}
    assert load_settings(environ=environ).settings.service.port == 1002
    assert load_settings(environ=environ).settings.service.ring == 1024
    assert load_settings(by_option, environ=environ).settings.service.port == 1003


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECT_SERVICE__PORT", "1004")
    assert load_settings().settings.service.port == 1004


def test_variables_that_are_no_settings_are_left_alone() -> None:
    loaded = load_settings(environ={"AFFECT_FER2013": "/data", "HOME": "/root", "OTHER__KEY": "1", "AFFECT_CONFIG": ""})
    assert loaded.origins == {}


# Plugins


def test_lists_of_plugins_come_from_two_variables() -> None:
    loaded = load_settings(environ={"AFFECT_PLUGINS": " cnn, builtin ,", "AFFECT_DISABLE_PLUGINS": "broken"})
    assert loaded.settings.plugins.allow == ("cnn", "builtin")
    assert loaded.settings.plugins.block == ("broken",)
    assert loaded.origin("plugins.allow") == "$AFFECT_PLUGINS"
    assert loaded.origin("plugins.block") == "$AFFECT_DISABLE_PLUGINS"


def test_the_variables_beat_the_file_and_the_command_line_beats_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[plugins]\nblock = ["from-file"]\nallow = ["from-file"]\n')
    loaded = load_settings(
        file,
        {"plugins.allow": ["from-option"]},
        {"AFFECT_PLUGINS": "from-env", "AFFECT_DISABLE_PLUGINS": "x"},
    )
    assert loaded.settings.plugins.allow == ("from-option",)
    assert loaded.settings.plugins.block == ("x",)


def test_a_plugins_table_is_kept_for_it(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", "[plugins.hmm]\ntau_c_s = 3.0\n[plugins.hmm.base_rates]\nneutral = 0.5\n")
    loaded = load_settings(file, None, {"AFFECT_PLUGINS__HMM__TAU_HOST_S": "8"})
    assert loaded.settings.plugins.of("hmm") == {
        "tau_c_s": 3.0,
        "tau_host_s": 8,
        "base_rates": {"neutral": 0.5},
    }
    assert loaded.origin("plugins.hmm.tau_c_s") == str(file)


def test_a_table_given_whole_is_the_origin_of_its_keys() -> None:
    loaded = load_settings(None, {"plugins.prefer": {"cnn": "mine"}}, {})
    assert loaded.settings.plugins.prefer == {"cnn": "mine"}
    assert loaded.origin("plugins.prefer.cnn") == "command line"
    assert loaded.origin("plugins.block") == "default"


# Errors


def test_a_misspelt_key_in_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[vision]\ndetektor = "haar"')
    assert error(file) == (
        f"vision.detektor (from {file}): Extra inputs are not permitted; did you mean vision.detector?"
    )


def test_a_misspelt_variable() -> None:
    message = error(environ={"AFFECT_LEARNER__EVENTS__ENTRE": "0.6"})
    assert "learner.events.entre (from $AFFECT_LEARNER__EVENTS__ENTRE)" in message
    assert message.endswith("did you mean learner.events.enter?")


def test_a_misspelt_option() -> None:
    message = error(overrides={"service.prot": 1})
    assert message.startswith("service.prot (from command line): ")
    assert message.endswith("did you mean service.port?")


def test_a_key_like_no_other_gets_no_hint() -> None:
    assert "did you mean" not in error(overrides={"vision.qqqqqqqqqqqqqqqqqq": 1})


def test_a_misspelt_table_has_an_origin_and_a_hint_too(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[visoin]\ndetector = "haar"')
    message = error(file)
    assert str(file) in message
    assert "did you mean vision" in message


def test_a_value_out_of_range_names_key_and_origin() -> None:
    message = error(environ={"AFFECT_SERVICE__PORT": "70000"})
    assert message.startswith("service.port (from $AFFECT_SERVICE__PORT): ")
    assert "65535" in message
    assert "did you mean" not in message


def test_a_value_where_a_table_belongs() -> None:
    message = error(overrides={"vision": 3, "vision.detector": "haar"})
    assert message == "vision.detector (from command line): 'vision' is a value, not a table"


@pytest.mark.parametrize("content", [b"[vision\n", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(content)
    assert error(file).startswith(f"{file}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert str(missing) in error(missing)
    assert str(missing) in error(environ={"AFFECT_CONFIG": str(missing)})


# Values and keys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("haar", "haar"),
        ('"3"', "3"),
        ("cuda:0", "cuda:0"),
        ("/a/b.onnx", "/a/b.onnx"),
        ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}),
        ("", ""),
    ],
)
def test_values_are_read_as_toml_and_bare_words_as_strings(text: str, expected: object) -> None:
    assert parse_value(text) == expected


def test_leaves_are_all_keys_in_order_with_values_and_sources() -> None:
    found = {key: (value, source) for key, value, source in leaves(Settings())}
    assert next(iter(found)) == "vision.detector"
    assert found["learner.absent_s"] == (5.0, "[D]")
    assert found["inference.backend"] == ("compact", "")
    tables = {key.partition(".")[0] for key in found}
    assert tables == {"vision", "inference", "learner", "service", "plugins"}


EVEN = dict.fromkeys(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), 0.5)
TIMING = EventSettings().timing
# Leaves that are neither numbers nor switches: what is given, and what the settings then hold.
GIVEN: dict[str, tuple[Any, Any]] = {
    "vision.detector": ("haar", "haar"),
    "inference.backend": ("cnn", "cnn"),
    "inference.device": ("cpu", "cpu"),
    "inference.precision": ("float32", "float32"),
    "learner.estimator": ("hmm", "hmm"),
    "learner.fit": ("a/fit.json", Path("a/fit.json")),
    "learner.circumplex.valence": (EVEN, EVEN),
    "learner.circumplex.arousal": (EVEN, EVEN),
    "learner.events.timing": (
        {"boredom": {"dwell_s": 7, "cooldown_s": 8}},
        {**TIMING, LearnerState.BOREDOM: Timing(dwell_s=7, cooldown_s=8)},
    ),
    "learner.events.actionable": (["boredom"], (LearnerState.BOREDOM,)),
    "service.host": ("localhost", "localhost"),
    "service.page": ("pages", "pages"),
    "service.token": ("s3cret", SecretStr("s3cret")),
    "service.origins": (["https://a.example"], ("https://a.example",)),
    "service.tls_certificate": ("a.pem", Path("a.pem")),
    "service.tls_key": ("b.pem", Path("b.pem")),
    "service.context": ("research", "research"),
    "service.jurisdiction": ("DE", "DE"),
    "plugins.allow": (["builtin"], ("builtin",)),
    "plugins.block": (["template"], ("template",)),
    "plugins.prefer": ({"cnn": "mine"}, {"cnn": "mine"}),
    "plugins.sinks": (["jsonl"], ("jsonl",)),
}


def other(key: str, value: object) -> tuple[Any, Any]:
    """Return what to give for a leaf so that it is not its default, and what the settings then hold."""
    if key in GIVEN:
        return GIVEN[key]
    assert isinstance(value, int | float), f"{key}: say in GIVEN what else it may be"
    changed = not value if isinstance(value, bool) else value + (1 if isinstance(value, int) else 0.01)
    return changed, changed


def test_every_leaf_can_be_set_by_its_key_and_changes_nothing_else() -> None:
    defaults = {key: value for key, value, _ in leaves(Settings())}
    assert set(GIVEN) <= set(defaults)
    for key, value in defaults.items():
        given, held = other(key, value)
        assert held != value, key
        loaded = load_settings(None, {key: given}, {})
        assert {k: v for k, v, _ in leaves(loaded.settings)} == {**defaults, key: held}, key
        assert loaded.origin(key) == "command line"
