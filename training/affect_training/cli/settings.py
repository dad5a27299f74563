"""affect-train settings: what a run can be told, as the table of docs/training-settings.md."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from affect_training.config import AugmentConfig, DataConfig, TrainConfig

_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


@click.command()
def settings() -> None:
    """Print every setting of a run: default, values, meaning; Markdown."""
    click.echo("\n".join(settings_table()))


def settings_table() -> Iterator[str]:
    """Yield the lines of the table: what `--set` and run files know, whatever the recipe."""
    yield "| setting | default | values | meaning |"
    yield "|---|---|---|---|"
    for table, model in (("data", DataConfig), ("augment", AugmentConfig), ("train", TrainConfig)):
        for name, field in model.model_fields.items():
            cells = (f"`{table}.{name}`", _default(field), _values(field), field.description or "")
            yield f"| {' | '.join(cells)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "the recipe's"
    return "" if field.default is None else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = [
        form.format(_toml(value))
        for kind, form in _BOUNDS.items()
        for one in field.metadata
        if (value := getattr(one, kind, None)) is not None
    ]
    return ", ".join(bounds)
