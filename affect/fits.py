"""Brings together a backend and what was fitted for it: finds the fit, and hands it to the estimator.

The learner model knows no backends and a backend knows no learners; whoever composes a session or a pipeline asks here.
"""

from pathlib import Path
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from affect.errors import CheckpointError, SettingsError, first_problem
from affect.inference.calibration import same_calibration
from affect.inference.checkpoint import Sidecar, load_sidecar, sidecar_path
from affect.learner.estimator import Adopts, Estimator
from affect.learner.heads import BackendFit, load_heads
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.fit import LearnerFit
from affect.settings.root import weights_path

_KEPT: WeakKeyDictionary[PluginHost, dict[tuple[str, Path | None], BackendFit | None]] = WeakKeyDictionary()
"""Fits by host, backend and `learner.fit`: read once, so that a running service keeps that of the weights it loaded."""


def new_estimator(settings: Settings, host: PluginHost) -> Estimator:
    """Create the configured estimator, with the fit of the configured backend if both have to do with fits.

    Raises:
        AffectError: The estimator is unknown or could not be created, or the fit is damaged or of other weights.
    """
    estimator = host.create_estimator(settings.learner.estimator)
    if isinstance(estimator, Adopts) and (fit := backend_fit(settings, host)) is not None:
        estimator.adopt(fit)
    return estimator


def reads_faces(settings: Settings, host: PluginHost) -> bool:
    """Whether the configured estimator will read embeddings and eyes.

    Raises:
        AffectError: The fit is damaged or of other weights.
    """
    name = settings.learner.estimator
    if name not in host.estimators or not host.estimators.get(name).reads_faces:
        return False
    fit = backend_fit(settings, host)
    return fit is not None and fit.heads is not None


def backend_fit(settings: Settings, host: PluginHost) -> BackendFit | None:
    """Return what was fitted for the configured backend: `learner.fit`, or what its sidecar has; None without either.

    Raises:
        SettingsError: `learner.fit` names no such document.
        CheckpointError: The fit is damaged, or of other weights than the backend's.
    """
    kept = _KEPT.setdefault(host, {})
    key = settings.inference.backend, settings.learner.fit
    if key not in kept:
        kept[key] = _find(settings, host)
    return kept[key]


def _find(settings: Settings, host: PluginHost) -> BackendFit | None:
    name = settings.inference.backend
    weights = host.weights_of(name) if name in host.backends or weights_path(name) else None
    sidecar = None if weights is None or not sidecar_path(weights).exists() else sidecar_path(weights)
    document = settings.learner.fit or sidecar
    if document is None:
        return None
    return _read(document, sidecar, settings.inference.backend_word)


def _read(document: Path, sidecar: Path | None, backend: str) -> BackendFit | None:
    """Read a document of its own, or the part of a sidecar."""
    known = None if sidecar is None else load_sidecar(sidecar)
    facts = known.learner if known is not None and document == sidecar else _document(document)
    if facts is None:
        return None
    _check_belongs(facts, document, known, backend)
    return BackendFit(facts, load_heads(document.parent, facts.heads) if facts.heads else None)


def _document(path: Path) -> LearnerFit:
    try:
        return LearnerFit.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise SettingsError(f"learner.fit: {path}: {exc.strerror or exc}") from exc
    except ValidationError as exc:
        raise CheckpointError(f"learner.fit: {path}: {first_problem(exc, 'file')}") from exc


def _check_belongs(facts: LearnerFit, document: Path, known: Sidecar | None, backend: str) -> None:
    sha256 = None if known is None else known.weights_sha256
    if facts.weights_sha256 is not None and sha256 is None:
        raise CheckpointError(
            f"{document.name}: the fit is of the backend {facts.backend!r}, not of {backend!r}; run `affect-train "
            "learner fit` for that"
        )
    if facts.weights_sha256 is not None and sha256 is not None and facts.weights_sha256 != sha256:
        raise CheckpointError(
            f"{document.name}: the fit is of other weights ({facts.backend}, {facts.weights_sha256[:12]}) than the "
            f"backend has ({sha256[:12]}); run `affect-train learner fit` again"
        )
    if (
        facts.weights_sha256 is not None
        and known is not None
        and not same_calibration(facts.calibration, known.calibration)
    ):
        raise CheckpointError(
            f"{document.name}: the fit is of weights that were calibrated otherwise; run `affect-train learner fit` "
            "again"
        )
