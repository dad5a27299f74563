"""Fits one backend to labelled faces: emission matrix and heads, cross-validated by person, written with provenance."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affect.errors import SettingsError
from affect.inference.checkpoint import heads_path, load_sidecar, sidecar_path, write_together
from affect.labels import LearnerState
from affect.learner.estimator import Estimator, HmmEstimator
from affect.learner.fitted import FittedEstimator
from affect.learner.heads import BackendFit, StateHeads, pack_heads
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.fit import LearnerFit, StateFigures
from affect.settings.learner import FittedSettings, HmmSettings
from affect.types import FrameFaces
from affect_training.learner.auc import Floats, Ints, figures
from affect_training.learner.beliefs import Believed, Sessions, beliefs
from affect_training.learner.emission import fit_emission, unfitted
from affect_training.learner.faces import LabelledFaces, faces_of
from affect_training.learner.heads import HeadOptions, fit_heads, people_folds
from affect_training.learner.labels import LabelledSet
from affect_training.provenance import git_commit, package_versions

FOLDS = 5
LICENCE = "the numbers are ours (MIT); their use is bound by the terms of the labelled faces they were fitted on"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit before it is written."""

    emission: Mapping[LearnerState, tuple[float, ...]]
    heads: StateHeads

    def as_backend_fit(self) -> BackendFit:
        """Return the fit as an estimator takes it."""
        facts = LearnerFit(
            backend="",
            weights_sha256=None,
            emission=dict(self.emission),
            emission_prior=0,
            data="",
            data_sha256="",
            faces=0,
            people=0,
        )
        return BackendFit(facts, self.heads)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to estimate, for comparison: which estimator, with which part of a fit, item by item or in a row."""

    name: str
    estimator: type[HmmEstimator]
    settings: HmmSettings
    fit: bool = True
    sessions: Sessions = "item"

    def create(self, fit: BackendFit) -> Callable[[], Estimator]:
        """Return what makes a fresh estimator."""

        def make() -> Estimator:
            made = self.estimator(self.settings)
            if self.fit:
                made.adopt(fit)
            return made

        return make


def variants_of(hmm: HmmSettings, fitted: FittedSettings) -> tuple[Variant, ...]:
    """Return what a fit is compared with, under these settings of the estimators."""
    past = fitted.model_copy(update={"person_weight": 1.0})
    return (
        Variant("heads", FittedEstimator, fitted),
        Variant("heads, a person's faces in a row", FittedEstimator, fitted, sessions="person"),
        Variant("heads, in a row, person's past subtracted", FittedEstimator, past, sessions="person"),
        Variant("emission refitted", HmmEstimator, hmm),
        Variant("emission refitted, in a row", HmmEstimator, hmm, sessions="person"),
        Variant("emission of the design", HmmEstimator, hmm, fit=False),
        Variant("emission of the design, in a row", HmmEstimator, hmm, fit=False, sessions="person"),
    )


def configured(host: PluginHost) -> tuple[HmmSettings, FittedSettings]:
    """Return the settings of the two estimators, `[plugins.hmm]` and `[plugins.fitted]`."""
    hmm, fitted = (host.settings_of(host.estimators.get(name)) for name in ("hmm", "fitted"))
    assert isinstance(hmm, HmmSettings)
    assert isinstance(fitted, FittedSettings)
    return hmm, fitted


def fit_all(faces: LabelledFaces, options: HeadOptions, prior: float, hmm: HmmSettings) -> Fitted:
    """Fit emission matrix and heads; `hmm` has the class shares that the backend was calibrated on."""
    return Fitted(fit_emission(faces, hmm, prior), fit_heads(faces, options))


def cross_validate(
    data: LabelledSet,
    seen: Sequence[FrameFaces],
    settings: Settings,
    options: HeadOptions,
    prior: float,
    variants: Sequence[Variant],
    hmm: HmmSettings,
    *,
    resamples: int = 1000,
) -> dict[str, StateFigures]:
    """Score every variant on people that its fit had not seen; a fifth of the people at a time.

    Args:
        data: The labels.
        seen: One frame an item.
        settings: Of the learner model.
        options: Of the heads.
        prior: Of the emission matrix.
        variants: What is compared.
        hmm: Of the emission matrix.
        resamples: Of the bootstrap.
    """
    _, people = np.unique(np.array(data.people), return_inverse=True)
    tables = {variant.name: np.empty((len(data), 7)) for variant in variants}
    for part in people_folds(people.astype(np.int64), FOLDS):
        rest = np.setdiff1d(np.arange(len(data)), part)
        fit = fit_all(some_faces(data, seen, rest, settings), options, prior, hmm).as_backend_fit()
        for variant in variants:
            tables[variant.name][part] = _believed(data, seen, part, settings, variant, fit)
    return {
        name: figures(Believed(table, (), 0.0).scores(), data.levels(), data.people, resamples=resamples)
        for name, table in tables.items()
    }


def some_faces(data: LabelledSet, seen: Sequence[FrameFaces], rows: Ints, settings: Settings) -> LabelledFaces:
    """Return the usable ones of some items as arrays."""
    wanted = set(rows.tolist())
    return faces_of(data, [frame if k in wanted else None for k, frame in enumerate(seen)], settings.learner)


def all_faces(data: LabelledSet, seen: Sequence[FrameFaces], settings: Settings) -> LabelledFaces:
    """Return all usable faces as arrays."""
    return faces_of(data, seen, settings.learner)


def _believed(
    data: LabelledSet,
    seen: Sequence[FrameFaces],
    rows: Ints,
    settings: Settings,
    variant: Variant,
    fit: BackendFit,
) -> Floats:
    people = data.people
    return beliefs(
        [[seen[k]] for k in rows],
        [people[k] for k in rows],
        settings.learner,
        variant.create(fit),
        sessions=variant.sessions,
    ).mean


def describe(
    data: LabelledSet, faces: LabelledFaces, settings: Settings, host: PluginHost, options: HeadOptions, prior: float
) -> LearnerFit:
    """Return the document of a fit without its numbers: what was fitted, on what, and how."""
    weights = host.weights_of(settings.inference.backend)
    sidecar = None if weights is None else load_sidecar(weights)
    return LearnerFit(
        backend=settings.inference.backend_word,
        weights_sha256=None if sidecar is None else sidecar.weights_sha256,
        calibration=None if sidecar is None else sidecar.calibration,
        emission=dict(unfitted(HmmSettings())),
        emission_prior=prior,
        data=f"{len(faces)} usable faces of {len(np.unique(faces.people))} people, {data.source} {data.split}",
        data_sha256=data.sha256,
        faces=len(faces),
        people=len(np.unique(faces.people)),
        method={
            "emission": "expectation maximisation of mixture shares, Dirichlet prior of the design's rows",
            "heads": "ridge regression of levels on embedding and readings, logistic curve on people left out",
            **options.facts(),
            "detector": settings.vision.detector,
        },
        made_with={"git_commit": git_commit(), "packages": package_versions()},
        licence=LICENCE,
    )


def write(fitted: Fitted, facts: LearnerFit, document: Path, *, sidecar: bool) -> LearnerFit:
    """Write heads beside a document, and the document: into a sidecar, or as a file of its own.

    Args:
        fitted: The numbers.
        facts: The document without them.
        document: A backend's sidecar, or the file to write.
        sidecar: Whether it is a sidecar, of which all else is kept.

    Returns:
        The document as written.

    Raises:
        CheckpointError: One of both could not be written; what was there before is intact.
    """
    path = heads_path(document)
    content, heads = pack_heads(path.name, fitted.heads)
    complete = facts.model_copy(update={"emission": dict(fitted.emission), "heads": heads})
    whole = load_sidecar(document).model_copy(update={"learner": complete}) if sidecar else complete
    text = json.dumps(whole.model_dump(mode="json"), indent=2) + "\n"
    write_together({path: content, document: text.encode()})
    return complete


def check_document(document: Path) -> None:
    """See that a document of its own would take nobody's place.

    Raises:
        SettingsError: It is no `.json`, or weights lie beside it, whose sidecar it would replace.
    """
    if document.suffix != ".json":
        raise SettingsError(f"-o {document}: a fit is a .json, with its heads beside it")
    if document.with_suffix(".safetensors").exists():
        raise SettingsError(
            f"-o {document}: that is the sidecar of weights; leave -o out to keep the fit in it, or name another file"
        )


def own_sidecar(settings: Settings, host: PluginHost) -> Path:
    """Return the sidecar of the configured backend's weights.

    Raises:
        SettingsError: It has no weights file; the fit must go to a file of its own.
    """
    weights = host.weights_of(settings.inference.backend)
    if weights is None:
        raise SettingsError(
            f"backend {settings.inference.backend_word!r} has no weights file of its own to keep a fit beside; name a "
            "document with --out and set learner.fit to it"
        )
    return sidecar_path(weights)
