"""`affect plugins`: name, version, distribution, what each provides, or why it is not there. Loads no torch."""

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from affect.plugins import PluginHost
from affect.registry import Registry
from affect.settings import Settings


def run(settings: Settings, *, as_json: bool, schema: bool, strict: bool) -> int:
    """Print the list; returns the exit code, 1 when `strict` and a plugin failed."""
    host = PluginHost(settings.plugins)
    if schema:
        click.echo(json.dumps(_schemas(host), indent=2))
    elif as_json:
        click.echo(json.dumps([asdict(status) for status in host.plugins], indent=2))
    else:
        Console(markup=False).print(_table(host))
    return 1 if strict and any(status.status == "failed" for status in host.plugins) else 0


def _table(host: PluginHost) -> Table:
    table = Table("plugin", "distribution", "status", "provides")
    for status in host.plugins:
        provides = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in status.provides.items())
        table.add_row(
            status.name,
            f"{status.distribution} {status.version}",
            status.status,
            provides if status.status == "loaded" else status.reason,
        )
    return table


def _schemas(host: PluginHost) -> dict[str, Any]:
    kinds: dict[str, Registry[Any]] = {
        "backends": host.backends,
        "detectors": host.detectors,
        "estimators": host.estimators,
        "sinks": host.sinks,
    }
    return {
        kind: {spec.name: spec.settings.model_json_schema() for spec in registry} for kind, registry in kinds.items()
    }
