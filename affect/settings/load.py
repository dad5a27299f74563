"""Where settings come from: defaults < `affect.toml` < environment < command line, and which one won.

The file is `--config`, or `$AFFECT_CONFIG`, or `affect.toml` in the working folder. The environment variable of
`vision.redetect_s` is `AFFECT_VISION__REDETECT_S`; its value is read as TOML, a bare word as a string.
`AFFECT_PLUGINS` and `AFFECT_DISABLE_PLUGINS` are comma-separated lists for `plugins.allow` and `plugins.block`.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from affect.errors import SettingsError
from affect.settings.root import Settings

_LISTS = {"AFFECT_PLUGINS": "plugins.allow", "AFFECT_DISABLE_PLUGINS": "plugins.block"}
_OTHER = {"AFFECT_CONFIG", "AFFECT_FER2013"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Validated settings and, for each key that was set, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, key: str) -> str:
        """Return where a dotted key's value came from: the longest set key that is it or holds it."""
        parts = key.split(".")
        for end in range(len(parts), 0, -1):
            if (found := self.origins.get(".".join(parts[:end]))) is not None:
                return found
        return "default"


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Merge all sources.

    Args:
        config: The TOML file; see the module for where it is looked for otherwise.
        overrides: {dotted key: value} from the command line; None values are left out.
        environ: The environment; `os.environ` by default.

    Raises:
        SettingsError: A file, key or value is wrong; names the key, its origin, and near keys for a misspelt one.
    """
    env = os.environ if environ is None else environ
    flat: dict[str, tuple[Any, str]] = {}
    path = config or (Path(env["AFFECT_CONFIG"]) if env.get("AFFECT_CONFIG") else None)
    if path is None and Path("affect.toml").is_file():
        path = Path("affect.toml")
    if path is not None:
        for key, value in _leaves(_read(path)):
            flat[key] = (value, str(path))
    for name, value in env.items():
        if name in _LISTS and value.strip():
            flat[_LISTS[name]] = ([part.strip() for part in value.split(",") if part.strip()], f"${name}")
        elif name not in _LISTS and name.startswith("AFFECT_") and "__" in name and name not in _OTHER:
            key = name.removeprefix("AFFECT_").lower().replace("__", ".")
            flat[key] = (parse_value(value), f"${name}")
    for key, value in (overrides or {}).items():
        if value is not None:
            flat[key] = (value, "command line")
    tree: dict[str, Any] = {}
    for key, (value, origin) in flat.items():
        _set(tree, key, value, origin)
    origins = {key: origin for key, (_, origin) in flat.items()}
    try:
        return Loaded(Settings.model_validate(tree), origins)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        below = (where for name, where in origins.items() if name.startswith(f"{key}."))
        origin = next(below, Loaded(Settings(), origins).origin(key))
        hint = _near(key) if first["type"] == "extra_forbidden" else ""
        raise SettingsError(f"{key} (from {origin}): {first['msg']}{hint}") from exc


def parse_value(text: str) -> Any:
    """Read a value as TOML would; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, value, source of the default) of every setting, in order."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            extra = field.json_schema_extra
            source = str(extra.get("source", "")) if isinstance(extra, dict) else ""
            yield f"{prefix}{name}", value, source


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(tree: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *parents, last = key.split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{key} (from {origin}): {part!r} is a value, not a table")
    tree[last] = value


def _near(key: str) -> str:
    known = [*Settings.model_fields, *(name for name, _, _ in leaves(Settings()))]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
