"""Plugins as they are installed, and a host that has loaded them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from affect import hookimpl
from affect.inference.backend import Backend
from affect.plugins import PluginHost, PluginStatus
from affect.registry import BackendSpec, Context
from affect.settings import PluginSettings
from affect.testing import FakeBackend


@dataclass(frozen=True)
class Distribution:
    name: str
    version: str = "1.0"


class Point:
    """An installed entry point, as far as the host looks at it."""

    def __init__(self, name: str, plugin: object, distribution: str | None = None) -> None:
        self.name, self.plugin = name, plugin
        self.dist = Distribution(distribution) if distribution else None

    def load(self) -> object:
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


class Backends:
    """A plugin that registers backends, and then perhaps fails."""

    def __init__(self, *specs: BackendSpec, fail: Exception | None = None) -> None:
        self.specs, self.fail = specs, fail

    @hookimpl
    def register_backends(self, register: Callable[[BackendSpec], None]) -> None:
        for spec in self.specs:
            register(spec)
        if self.fail:
            raise self.fail


class Knobs(BaseModel):
    model_config = ConfigDict(extra="forbid")
    gain: float = 1.0


def spec(name: str, create: Callable[[Context], Backend] | None = None, summary: str = "") -> BackendSpec:
    return BackendSpec(name, create or (lambda _: FakeBackend()), summary, Knobs)


def load(*points: Point, strict: bool = False, **table: Any) -> PluginHost:
    return PluginHost(
        PluginSettings.model_validate(table),
        entry_points=cast(Iterable[metadata.EntryPoint], points),
        strict=strict,
    )


def status(host: PluginHost, name: str) -> PluginStatus:
    (found,) = [plugin for plugin in host.plugins if plugin.name == name]
    return found
