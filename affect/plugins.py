"""PluginHost: finds plugins, loads each in its own try, and collects what they register, with provenance."""

import copy
import difflib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy
from pydantic import BaseModel

from affect import hookspecs
from affect.errors import AffectError, BackendError, ErrorCode, PluginError
from affect.registry import (
    BackendSpec,
    DetectorSpec,
    EstimatorSpec,
    Provenance,
    RecipeSpec,
    Registry,
    Sink,
    SinkSpec,
    validate_settings,
)
from affect.settings.root import PluginSettings, weights_path

if TYPE_CHECKING:
    from affect.inference.backend import Backend
    from affect.inference.device import Device
    from affect.learner.estimator import Estimator
    from affect.vision.detector import Detector


T = TypeVar("T")

HOOKS = (
    "register_backends",
    "register_detectors",
    "register_estimators",
    "register_sinks",
    "register_recipes",
)


@dataclass(slots=True)
class PluginStatus:
    """What became of one plugin."""

    name: str
    distribution: str
    version: str
    status: Literal["loaded", "blocked", "failed"]
    reason: str = ""
    provides: dict[str, list[str]] = field(default_factory=dict)


class PluginHost:
    """Plugins of one process.

    Args:
        settings: Allow and block lists, preferences, and the plugins' own tables.
        entry_points: What to load; the installed entry points of the group `affect` by default.
        strict: Raise on the first plugin that fails, instead of reporting it.
    """

    def __init__(
        self,
        settings: PluginSettings | None = None,
        *,
        entry_points: Iterable[metadata.EntryPoint] | None = None,
        strict: bool = False,
    ) -> None:
        self.settings = settings or PluginSettings()
        prefer = self.settings.prefer
        self.backends: Registry[BackendSpec] = Registry("backend", prefer)
        self.detectors: Registry[DetectorSpec] = Registry("detector", prefer)
        self.estimators: Registry[EstimatorSpec] = Registry("estimator", prefer)
        self.sinks: Registry[SinkSpec] = Registry("sink", prefer)
        self.recipes: Registry[RecipeSpec] = Registry("recipe", prefer)
        self._registries: dict[str, Registry[Any]] = dict(
            zip(HOOKS, (self.backends, self.detectors, self.estimators, self.sinks, self.recipes), strict=True)
        )
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._strict = strict
        self.plugins: list[PluginStatus] = []
        found = metadata.entry_points(group=hookspecs.PROJECT) if entry_points is None else entry_points
        for entry_point in sorted(found, key=lambda e: (_distribution(e) != "tutor-affect", e.name)):
            self._load(entry_point)

    def register(self, plugin: object, name: str, distribution: str = "local", version: str = "0") -> PluginStatus:
        """Add a plugin object by hand, as tests and notebooks do; failures are handled like any other's."""
        status = PluginStatus(name, distribution, version, "loaded")
        self.plugins.append(status)
        try:
            self._adopt(plugin, status)
        except Exception as exc:
            self._fail(status, exc)
        return status

    def configured(self, name: str, table: Mapping[str, Any]) -> "PluginHost":
        """Return a host of the same plugins, in which `[plugins.NAME]` is another table."""
        other = copy.copy(self)
        other.settings = PluginSettings.model_validate({**self.settings.model_dump(), name: dict(table)})
        return other

    def settings_of(self, spec: BackendSpec | DetectorSpec | EstimatorSpec | SinkSpec) -> BaseModel:
        """Validate `[plugins.<name>]` against a spec's settings model.

        Raises:
            SettingsError: A key is unknown or a value is wrong.
        """
        values = self.settings.of(spec.name)
        if isinstance(spec, EstimatorSpec) and spec.extends:
            values = {**self.settings.of(spec.extends), **values}
        return validate_settings(spec.settings, values, f"plugins.{spec.name}")

    def strays(self) -> list[str]:
        """Return names under `[plugins]` that match nothing: misspelt tables, and entries of `allow` and `block`.

        Tables are looked at only when all plugins are loaded: a plugin that is not may be the one they are for.
        """
        installed = [plugin.name for plugin in self.plugins]
        found = [
            f"plugins.{key}: no plugin is called {name!r}{_like(name, installed)}"
            for key, names in (("allow", self.settings.allow or ()), ("block", self.settings.block))
            for name in names
            if name not in installed
        ]
        if all(plugin.status == "loaded" for plugin in self.plugins):
            registered = [spec.name for registry in self._registries.values() for spec in registry]
            found += [
                f"[plugins.{name}]: nothing is registered by that name{_like(name, registered)}"
                for name in self.settings.model_extra or {}
                if name not in registered
            ]
        return found

    def create_backend(self, name: str, device: "Device", _parents: Sequence[str] = ()) -> "Backend":
        """Create a backend by name, or out of a weights file whose network a registered recipe knows.

        Args:
            name: A registered name, the path of a `.safetensors` file, or of a file that a registered backend opens
                (the manifest of an ensemble).
            device: Where it runs.

        Raises:
            PluginError: No such backend, or backends that contain each other.
            SettingsError: Its settings are wrong.
            CheckpointError: The weights file cannot be served; says why.
            BackendError: It could not be created; carries the reason.
        """
        if name in _parents:
            raise PluginError(f"backends contain each other: {' -> '.join([*_parents, name])}")
        path = weights_path(name)
        if path is None:
            spec = self.backends.get(name)
            settings = self.settings_of(spec)
        elif (opener := self._opener(path)) is not None:
            spec = opener
            table = {k: value for k, value in self.settings.of(spec.name).items() if k not in spec.opens_without}
            settings = validate_settings(
                spec.settings, {**table, spec.opens[path.suffix]: path}, f"plugins.{spec.name}"
            )
        else:
            return self._from_weights(path, device)
        context = _Context(self, device, settings, (*_parents, name))
        return _created("backend", name, self.backends.provenance(spec.name), lambda: spec.create(context))

    def weights_of(self, name: str) -> Path | None:
        """Return the weights file a backend runs with: `[plugins.NAME] weights` where that is set, or the shipped one.

        Args:
            name: Of the backend, or the path of a weights file or of a file that a backend opens.

        Returns:
            None when it has none of its own.

        Raises:
            PluginError: No such backend.
            SettingsError: Its settings are wrong.
        """
        if (path := weights_path(name)) is not None:
            return None if self._opener(path) is not None else path
        spec = self.backends.get(name)
        chosen = getattr(self.settings_of(spec), "weights", None)
        return chosen if isinstance(chosen, Path) else spec.weights

    def create_detector(self, name: str, device: "Device") -> "Detector":
        """Create a detector by name.

        Raises:
            PluginError: No such detector.
            SettingsError: Its settings are wrong.
            BackendError: It could not be created; carries the reason.
        """
        spec = self.detectors.get(name)
        context = _Context(self, device, self.settings_of(spec), ())
        return _created("detector", name, self.detectors.provenance(name), lambda: spec.create(context))

    def create_estimator(self, name: str) -> "Estimator":
        """Create a fresh estimator, one a session; errors as for detectors."""
        spec = self.estimators.get(name)
        settings = self.settings_of(spec)
        return _created("estimator", name, self.estimators.provenance(name), lambda: spec.create(settings))

    def create_sink(self, name: str) -> Sink:
        """Create a sink by name; errors as for detectors."""
        spec = self.sinks.get(name)
        settings = self.settings_of(spec)
        return _created("sink", name, self.sinks.provenance(name), lambda: spec.create(settings))

    def _opener(self, path: Path) -> BackendSpec | None:
        return next((spec for spec in self.backends if path.suffix in spec.opens), None)

    def _from_weights(self, path: Path, device: "Device") -> "Backend":
        from affect.inference.from_weights import backend_from_weights

        try:
            return backend_from_weights(
                path, device, {recipe.architecture for recipe in self.recipes if recipe.architecture}
            )
        except AffectError:
            raise
        except Exception as exc:
            raise BackendError(
                f"{path} could not be served: {type(exc).__name__}: {exc}", code=ErrorCode.BACKEND_UNAVAILABLE
            ) from exc

    def _load(self, entry_point: metadata.EntryPoint) -> None:
        version = entry_point.dist.version if entry_point.dist else "0"
        status = PluginStatus(entry_point.name, _distribution(entry_point), version, "loaded")
        self.plugins.append(status)
        if entry_point.name in self.settings.block:
            status.status, status.reason = "blocked", "plugins.block"
            return
        if self.settings.allow is not None and entry_point.name not in self.settings.allow:
            status.status, status.reason = "blocked", "not in plugins.allow"
            return
        try:
            self._adopt(entry_point.load(), status)
        except (Exception, SystemExit) as exc:  # whatever a plugin does, it must not take the others with it
            self._fail(status, exc)

    def _adopt(self, plugin: object, status: PluginStatus) -> None:
        if self._manager.has_plugin(status.name):
            raise PluginError(f"another plugin is called {status.name!r} already", code=ErrorCode.DUPLICATE_NAME)
        _check_hooks(plugin)
        self._manager.register(plugin, name=status.name)
        try:
            self._collect(plugin, status)
        except BaseException:
            self._manager.unregister(name=status.name)
            for registry in self._registries.values():
                registry.remove(_provenance(status))
            raise

    def _collect(self, plugin: object, status: PluginStatus) -> None:
        """Call the plugin's hooks and note what they register."""
        provenance = _provenance(status)
        for hook in HOOKS:
            registry = self._registries[hook]
            names: list[str] = []

            def register(spec: Any, registry: Registry[Any] = registry, names: list[str] = names) -> None:
                if registry.add(spec, provenance):
                    names.append(spec.name)

            others = [p for p in self._manager.get_plugins() if p is not plugin]
            self._manager.subset_hook_caller(hook, others)(register=register)
            if names:
                status.provides[hook.removeprefix("register_")] = names

    def _fail(self, status: PluginStatus, exc: BaseException) -> None:
        if self._strict:
            raise PluginError(f"plugin {status.name!r} of {status.distribution}: {exc}") from exc
        where = traceback.extract_tb(exc.__traceback__)
        last = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
        status.status, status.reason = "failed", f"{type(exc).__name__}: {exc}{last}"
        status.provides.clear()


@dataclass(frozen=True, slots=True)
class _Context:
    """The `affect.registry.Context` a spec's `create` gets."""

    host: PluginHost
    device: "Device"
    settings: BaseModel
    parents: tuple[str, ...]

    def backend(self, name: str) -> "Backend":
        """Create another backend, by name or out of a weights file, on the same device."""
        return self.host.create_backend(name, self.device, self.parents)


def _created(kind: str, name: str, owner: Provenance, create: Callable[[], T]) -> T:
    """Run a plugin's `create`; whatever it raises becomes an error that names it."""
    try:
        return create()
    except AffectError:
        raise
    except Exception as exc:
        raise BackendError(
            f"{kind} {name!r} of {owner} could not be created: {type(exc).__name__}: {exc}",
            code=ErrorCode.BACKEND_UNAVAILABLE,
        ) from exc


def _like(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _provenance(status: PluginStatus) -> Provenance:
    return Provenance(status.name, status.distribution, status.version)


def _distribution(entry_point: metadata.EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist else "unknown"


def _check_hooks(plugin: object) -> None:
    """Refuse misspelt hooks, marked or not: a plugin that registers nothing by mistake should say so."""
    marked = []
    for name in dir(plugin):
        if name.startswith("register_") and callable(getattr(plugin, name)) and name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PluginError(f"unknown hook {name!r}{hint} The hooks are {', '.join(HOOKS)}.")
        if name in HOOKS:
            if getattr(getattr(plugin, name), f"{hookspecs.PROJECT}_impl", None) is None:
                raise PluginError(f"{name} is not marked with @affect.hookimpl")
            marked.append(name)
    if not marked:
        kind = "module" if isinstance(plugin, ModuleType) else "object"
        raise PluginError(f"this {kind} implements no hook; the hooks are {', '.join(HOOKS)}")
