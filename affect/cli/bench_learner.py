"""`affect bench learner`: the estimator and event policy against what others do, on simulated learners.

The estimator sees the face only, as the others do; below it, the same one that is told only what the host saw, and
both; and what it found in one session against the truth of the next, which is what chance finds.
"""

import json
from collections import deque
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.numpy import load_file

from affect.errors import BackendError
from affect.fits import backend_fit, new_estimator
from affect.inference.checkpoint import load_sidecar
from affect.labels import STATES, LearnerState, OffsetReason
from affect.learner.dynamics import stationary
from affect.learner.model import LearnerModel
from affect.learner.rivals import RIVALS
from affect.learner.score import Score, Segment, add_session, segments
from affect.learner.simulate import CASES, Case, FacePool, Floats, Ints, Simulation, simulate
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.learner import HmmSettings
from affect.types import Face, FrameFaces, LearnerEvent

OURS, PRIOR = "this estimator", "base rates alone"
HOST_ONLY, BOTH = "host evidence only", "face and host evidence"
CHANCE = "this estimator, another learner"
OBSERVED_CASE = "faces as fitted"

_Answer = tuple[list[Segment], Ints, Floats]


def run(
    settings: Settings, *, sessions: int, minutes: float, fps: float, seed: int, json_file: Path | None
) -> dict[str, dict[str, Score]]:
    """Run all cases and print one table a case.

    Raises:
        BackendError: The backend ships no predictions to draw faces from.
    """
    host = PluginHost(settings.plugins)
    truth_settings = HmmSettings()  # the truth stays as shipped, whatever the estimator is set to
    pool = face_pool(host, settings.inference.backend)
    console = Console(markup=False)
    console.print(
        f"faces: {len(pool.labels)} validation pictures as `{settings.inference.backend}` reads them; "
        f"{sessions} sessions of {minutes:g} minutes at {fps:g} fps a case, seed {seed}"
    )
    results = {}
    for number, case in enumerate(cases(settings, host)):
        rng = np.random.default_rng([seed, number])
        scores = {name: Score() for name in (OURS, CHANCE, HOST_ONLY, BOTH, *RIVALS, PRIOR)}
        truth_switches = Score()
        of_the_last: _Answer | None = None
        for _ in track(range(sessions), description=case.name, console=Console(stderr=True), transient=True):
            simulation = simulate(truth_settings, case, pool, seconds=minutes * 60, fps=fps, rng=rng)
            if of_the_last is not None:
                add_session(scores[CHANCE], simulation.t, simulation.states, *of_the_last)
            of_the_last = _score_session(scores, simulation, settings, host, truth_settings)
            truth_switches.switches += int(np.count_nonzero(np.diff(simulation.states)))
            truth_switches.hours += float(simulation.t[-1]) / 3600
        results[case.name] = scores
        console.print(_table(case, scores, truth_switches.switches_per_minute))
    if json_file:
        json_file.write_text(json.dumps(_plain(results), indent=2) + "\n", encoding="utf-8")
    return results


def cases(settings: Settings, host: PluginHost) -> tuple[Case, ...]:
    """Return the cases; if faces were fitted for the backend, also learners who look as those did."""
    fit = backend_fit(settings, host)
    return CASES if fit is None else (*CASES, Case(OBSERVED_CASE, emission=fit.facts.emission))


def face_pool(host: PluginHost, backend: str) -> FacePool:
    """Read the predictions that lie beside a backend's weights.

    Raises:
        BackendError: There are none.
    """
    weights = host.weights_of(backend)
    predictions = load_sidecar(weights).predictions if weights else None
    if weights is None or predictions is None:
        raise BackendError(f"backend {backend!r} ships no predictions; choose one that does, `cnn` for one")
    arrays = load_file(weights.with_name(predictions))
    return FacePool(arrays["probabilities"].astype(np.float64), arrays["labels"].astype(np.int64))


def run_model(
    simulation: Simulation, settings: Settings, host: PluginHost, *, face: bool = True, told: bool = False
) -> _Answer:
    """Run the learner model as the service does; return its detections, the label shown, and the belief.

    Args:
        simulation: The session.
        settings: Of the learner model and the estimator.
        host: Plugins.
        face: Whether it sees the faces.
        told: Whether it is told what the host saw.
    """
    model = LearnerModel(settings.learner, new_estimator(settings, host))
    belief = np.empty((len(simulation.t), len(STATES)))
    shown = np.empty(len(simulation.t), np.int64)
    events: list[LearnerEvent] = []
    waiting = deque(simulation.host if told else ())
    for k, t in enumerate(simulation.t):
        while waiting and waiting[0][0] <= t:
            events += model.host(*waiting.popleft())[1]
        observation = model.observe(_frame(float(t), k, simulation.faces[k], readable=face))
        events += observation.events
        belief[k] = observation.estimate.states
        # What the tutor was told last and that still holds.
        shown[k] = STATES.index(next(reversed(model.policy.open_states), LearnerState.NEUTRAL))
    events += model.end(OffsetReason.SESSION_END)
    return _detections(events), shown, belief


def _score_session(
    scores: dict[str, Score], simulation: Simulation, settings: Settings, host: PluginHost, truth: HmmSettings
) -> _Answer:
    """Score one session; return what was found by the face."""
    answers = {}
    for name, face, told in ((OURS, True, False), (HOST_ONLY, False, True), (BOTH, True, True)):
        answers[name] = run_model(simulation, settings, host, face=face, told=told)
        add_session(scores[name], simulation.t, simulation.states, *answers[name])
    for name, rival in RIVALS.items():
        labels, distribution = rival(simulation, truth)
        add_session(
            scores[name],
            simulation.t,
            simulation.states,
            segments(simulation.t, labels),
            labels,
            distribution,
        )
    prior = np.tile(stationary(truth), (len(simulation.t), 1))
    quiet = np.full(len(simulation.t), STATES.index(LearnerState.NEUTRAL), np.int64)
    add_session(scores[PRIOR], simulation.t, simulation.states, [], quiet, prior)
    return answers[OURS]


def _frame(t: float, number: int, p: Floats, *, readable: bool) -> FrameFaces:
    """Return a frame with the face, or with one that cannot be read: a learner who is there but not judged by it."""
    if np.isnan(p[0]):
        return FrameFaces(t, number, 320, 240, (), None)
    box = np.array([100, 60, 220, 180], np.float32)
    face = Face(1, box, None, 1.0, None, 1.0, p.astype(np.float32) if readable else None)
    return FrameFaces(t, number, 320, 240, (face,), 1)


def _detections(events: list[LearnerEvent]) -> list[Segment]:
    """Pair onsets with offsets; a detection starts when it was announced."""
    found, opened = [], {}
    for event in events:
        if event.phase == "onset":
            opened[event.kind] = event.t
        elif event.phase == "offset":
            found.append(Segment(LearnerState(event.kind), opened.pop(event.kind), event.t))
    return sorted(found, key=lambda segment: segment.start)


def _table(case: Case, scores: dict[str, Score], true_switches: float) -> Table:
    table = Table(title=f"{case.name} (true switches {true_switches:.1f} a minute)", title_justify="left")
    table.add_column("")
    for heading in ("event-F1", "onset p50 s", "p95 s", "false alarms/h", "switches/min", "NLL"):
        table.add_column(heading, justify="right")
    for name, score in scores.items():
        table.add_row(
            name,
            f"{score.event_f1:.3f}",
            f"{score.latency(50):.1f}",
            f"{score.latency(95):.1f}",
            f"{score.false_alarms_per_hour:.0f}",
            f"{score.switches_per_minute:.2f}",
            f"{score.nll:.3f}",
        )
    return table


def _plain(results: dict[str, dict[str, Score]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        case: {
            name: {
                "event_f1": score.event_f1,
                "onset_p50_s": score.latency(50),
                "onset_p95_s": score.latency(95),
                "false_alarms_per_hour": score.false_alarms_per_hour,
                "switches_per_minute": score.switches_per_minute,
                "nll": score.nll,
            }
            for name, score in scores.items()
        }
        for case, scores in results.items()
    }
