"""What plugins register, and the table from a name to its spec with provenance. No torch here.

A spec is cheap: a name, a summary, a settings model and a function that builds the real thing when asked.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from affect.errors import ErrorCode, PluginError, SettingsError

if TYPE_CHECKING:
    from affect.inference.backend import Backend
    from affect.inference.device import Device
    from affect.learner.estimator import Estimator
    from affect.vision.detector import Detector


class NoSettings(BaseModel):
    """Settings of a plugin that has none; any key is an error."""

    model_config = ConfigDict(extra="forbid")


class Context(Protocol):
    """What a spec's `create` may use."""

    @property
    def device(self) -> "Device":
        """Where to run, in which precision and layout."""
        ...

    @property
    def settings(self) -> BaseModel:
        """The spec's own settings model, validated."""
        ...

    def backend(self, name: str) -> "Backend":
        """Create another backend, by name or out of a weights file; for ensembles and wrappers."""
        ...


class Sink(Protocol):
    """Where learner events go besides the socket."""

    def write(self, session: str, event: Mapping[str, Any]) -> None:
        """Take one CloudEvents object; called in a thread of the sink's own."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A classifier of faces: seven logits from a crop.

    Attributes:
        weights: The weights file, if it ships one; its sidecar can then be read without loading torch.
        opens: File suffix -> setting, as `{".json": "manifest"}`. Where such a file is named in place of a backend,
            this backend is created, with that setting set to the file's path.
        opens_without: Settings of `[plugins.NAME]` that are ignored when the backend is created from such a file.
    """

    name: str
    create: Callable[[Context], "Backend"]
    summary: str
    settings: type[BaseModel] = NoSettings
    weights: Path | None = None
    opens: Mapping[str, str] = field(default_factory=dict)
    opens_without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A face detector."""

    name: str
    create: Callable[[Context], "Detector"]
    summary: str
    settings: type[BaseModel] = NoSettings


@dataclass(frozen=True, slots=True)
class EstimatorSpec:
    """From observations over time to a distribution over learner states.

    Attributes:
        extends: Another estimator whose table `[plugins.NAME]` holds here too; this one's own wins, key by key.
        reads_faces: Whether it reads `Face.embedding` and `Face.eye_opening` when the backend has a fit with heads;
            the pipeline computes them only then.
    """

    name: str
    create: Callable[[BaseModel], "Estimator"]
    summary: str
    settings: type[BaseModel] = NoSettings
    extends: str = ""
    reads_faces: bool = False


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A place where learner events are written."""

    name: str
    create: Callable[[BaseModel], Sink]
    summary: str
    settings: type[BaseModel] = NoSettings


@dataclass(frozen=True, slots=True)
class RecipeSpec:
    """A network and the settings it is trained with.

    Attributes:
        architecture: `module:Class` of the torch module; imported only when a training or a load needs it. Empty for
            an ensemble of other recipes, see `parts`.
        source: The publication the recipe reproduces.
        published: The figure the source prints, in words; empty for our own recipes.
        model: Arguments of the module.
        data: Defaults of the run's `data` table: what the network is given.
        augment: Defaults of the run's `augment` table.
        train: Defaults of the run's `train` table; a run file or `--set` may change each key of all four.
        inits: Where pretrained weights may come from, `{scheme: "module:function"}`, for `--init scheme:LOCATION` or
            `--init scheme`. The function takes (network, location) and changes the network in place.
        parts: Of an ensemble: `{part: table}`; a table is like a run file, with `recipe` and what changes it. Each part
            is trained, then they vote with equal weights.
        views: Of an ensemble: the test-time views it is published with, as `affect-train evaluate --tta` names them.
        init: Where a run begins unless it says otherwise: `none`, or a scheme of `inits`, also with its place.
        init_notes: What a model card must say of weights that started there, by scheme: makers, data, licence.
    """

    name: str
    architecture: str
    summary: str
    source: str
    published: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    inits: Mapping[str, str] = field(default_factory=dict)
    init_notes: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    views: str = "none"
    init: str = "none"


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...


SpecT = TypeVar("SpecT", bound=_Named)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which plugin of which distribution registered a spec."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})"


class Registry(Generic[SpecT]):
    """Names of one kind of spec.

    Args:
        kind: What is registered, for messages: `backend`, `detector`, …
        prefer: {name: distribution} that decides when two distributions register the same name.
    """

    def __init__(self, kind: str, prefer: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._prefer = dict(prefer or {})
        self._entries: dict[str, tuple[SpecT, Provenance]] = {}
        self._replaced: dict[str, tuple[SpecT, Provenance]] = {}

    def add(self, spec: SpecT, provenance: Provenance) -> bool:
        """Register a spec; returns whether it holds the name now (settings may prefer another's).

        Raises:
            PluginError: The name is taken and settings prefer neither distribution.
        """
        if spec.name in self._entries:
            _, owner = self._entries[spec.name]
            preferred = self._prefer.get(spec.name)
            if preferred == owner.distribution:
                return False
            if preferred != provenance.distribution:
                raise PluginError(
                    f"{self.kind} {spec.name!r} is registered by {owner} and by {provenance}; set "
                    f"plugins.prefer.{spec.name} to the distribution you want, or block one plugin",
                    code=ErrorCode.DUPLICATE_NAME,
                )
            self._replaced[spec.name] = self._entries[spec.name]
        self._entries[spec.name] = (spec, provenance)
        return True

    def remove(self, owner: Provenance) -> None:
        """Forget what an owner registered, and give back what it had replaced; used when the rest of it failed."""
        for name in [name for name, (_, found) in self._entries.items() if found == owner]:
            del self._entries[name]
            if name in self._replaced:
                self._entries[name] = self._replaced.pop(name)

    def get(self, name: str) -> SpecT:
        """Return the spec of a name.

        Raises:
            PluginError: No such name; the message lists what there is and what may have been meant.
        """
        try:
            return self._entries[name][0]
        except KeyError:
            raise unknown_name(self.kind, name, self._entries) from None

    def provenance(self, name: str) -> Provenance:
        """Return who registered a name."""
        self.get(name)
        return self._entries[name][1]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._entries)

    def __iter__(self) -> Iterator[SpecT]:
        return (self._entries[name][0] for name in self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def unknown_name(kind: str, name: str, known: Mapping[str, object]) -> PluginError:
    """Return the error for a name nobody registered, with the nearest known ones."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    known_names = ", ".join(sorted(known)) or "none"
    return PluginError(f"no {kind} {name!r}; {hint}known: {known_names}", code=ErrorCode.UNKNOWN_NAME)


def validate_settings(model: type[BaseModel], values: Mapping[str, Any], where: str) -> BaseModel:
    """Validate a spec's own settings.

    Raises:
        SettingsError: A key is unknown or a value is out of range; names the key as the user wrote it.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        raise SettingsError(f"{key}: {first['msg']}") from exc
