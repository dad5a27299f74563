"""The five hooks: the whole extension surface. Each is called once at start; per-frame work is method calls.

A plugin is a module or object named by an entry point of the group `affect`; it implements any of these with
`affect.hookimpl`. It should import torch only inside what it registers, so that listing plugins stays fast.
"""

from collections.abc import Callable

import pluggy

from affect.registry import BackendSpec, DetectorSpec, EstimatorSpec, RecipeSpec, SinkSpec

PROJECT = "affect"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_backends(register: Callable[[BackendSpec], None]) -> None:
    """Call `register(BackendSpec(...))` for each classifier of face crops."""


@hookspec
def register_detectors(register: Callable[[DetectorSpec], None]) -> None:
    """Call `register(DetectorSpec(...))` for each face detector."""


@hookspec
def register_estimators(register: Callable[[EstimatorSpec], None]) -> None:
    """Call `register(EstimatorSpec(...))` for each estimator of learner states."""


@hookspec
def register_sinks(register: Callable[[SinkSpec], None]) -> None:
    """Call `register(SinkSpec(...))` for each place events can be written to."""


@hookspec
def register_recipes(register: Callable[[RecipeSpec], None]) -> None:
    """Call `register(RecipeSpec(...))` for each network that `affect-train` can train."""
