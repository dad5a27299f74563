import tomllib

from affect_training.tune_files import as_toml


def test_values_are_written_as_toml() -> None:
    values = {"a": 'say "so"', "b": 1e-05, "c": [0.9, True], "d": {"x y": 1}, "e": ("k",)}
    text = "\n".join(f"{key} = {as_toml(value)}" for key, value in values.items())
    assert tomllib.loads(text) == {**values, "e": ["k"]}
