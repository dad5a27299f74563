"""When a belief becomes an event: hysteresis, dwell, cool-down, and a budget of actionable onsets.

What a face suggests must last; what somebody said counts at once.

Every onset gets exactly one offset; nothing is ever emitted twice, nothing ends that did not begin.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from affect.labels import STATES, Evidence, LearnerState, OffsetReason, Phase
from affect.settings.learner import EventSettings
from affect.types import Estimate, LearnerEvent

_BUDGET_WINDOW_S = 60.0
_UPDATE_FLOOR_S = 1.0


@dataclass(slots=True)
class _Open:
    """A state that has begun and not ended."""

    t_start: float
    updated: float
    told: float
    below_since: float | None = None


class EventPolicy:
    """Events of one session.

    Args:
        settings: Thresholds and times.
        base_rates: What the belief drifts to without evidence; no state is open on that alone. Without them only
            `enter` and `leave` count.
    """

    def __init__(self, settings: EventSettings, base_rates: Mapping[LearnerState, float] | None = None) -> None:
        self.settings = settings
        self.enter, self.leave = settings.thresholds(base_rates or {})
        self._open: dict[LearnerState, _Open] = {}
        self._since: dict[LearnerState, float] = {}
        self._ended: dict[LearnerState, float] = {}
        self._actionable: deque[float] = deque()
        self._last: Estimate | None = None
        self.suppressed = 0
        self._suppressed_now: set[LearnerState] = set()

    @property
    def open_states(self) -> dict[LearnerState, float]:
        """States that have begun and not ended, and since when, seconds."""
        return {state: held.t_start for state, held in self._open.items()}

    def step(self, estimate: Estimate, corrected: LearnerState | None = None) -> list[LearnerEvent]:
        """Take a belief; return the events it causes, offsets first. Nothing begins without evidence.

        Args:
            estimate: The belief.
            corrected: The state that somebody just called the true one: it begins without dwell, cool-down or budget.
        """
        before, self._last = self._last, estimate
        events = [self._offset(s, estimate, OffsetReason.DECAY) for s in self._ending(estimate)]
        events += self._updates(estimate)
        if estimate.evidence is Evidence.NONE:
            self._since.clear()
        else:
            events += self._onsets(estimate, before, corrected)
        return events

    def forget(self) -> None:
        """Forget the last belief; what is open, cool-downs and the budget stay."""
        self._last = None

    def close(self, t: float, reason: OffsetReason) -> list[LearnerEvent]:
        """End all open states; returns their offsets."""
        self._since.clear()
        last = self._last
        if last is None:
            return []
        return [self._offset(state, last, reason, max(t, last.t)) for state in list(self._open)]

    def _ending(self, estimate: Estimate) -> list[LearnerState]:
        ending = []
        for state, held in self._open.items():
            if _probability(estimate, state) >= self.leave[state]:
                held.below_since = None
            elif held.below_since is None:
                held.below_since = estimate.t
            if held.below_since is not None and estimate.t - held.below_since >= self.settings.leave_s:
                ending.append(state)
        return ending

    def _updates(self, estimate: Estimate) -> list[LearnerEvent]:
        events = []
        for state, held in self._open.items():
            p, since = _probability(estimate, state), estimate.t - held.updated
            moved = abs(p - held.told) >= self.settings.update_change and since >= _UPDATE_FLOOR_S
            if since >= self.settings.update_s or moved:
                held.updated, held.told = estimate.t, p
                events.append(_event(state, Phase.UPDATE, estimate, held.t_start))
        return events

    def _onsets(
        self, estimate: Estimate, before: Estimate | None, corrected: LearnerState | None
    ) -> list[LearnerEvent]:
        events = []
        # The likelier first: the budget is for what is most certain.
        for state in sorted(self.settings.timing, key=lambda s: -_probability(estimate, s) / self.enter[s]):
            p = _probability(estimate, state)
            begins = state is corrected or (p >= self.enter[state] and self._leads(estimate, state))
            if state in self._open or not begins:
                self._since.pop(state, None)
                self._suppressed_now.discard(state)
                continue
            since = self._since.setdefault(state, estimate.t)
            if state is not corrected:
                timing = self.settings.timing[state]
                cooled = estimate.t - self._ended.get(state, float("-inf")) >= timing.cooldown_s
                lasted = estimate.t - since >= timing.dwell_s or _was_told(estimate, before, state)
                if not lasted or not cooled or not self._affordable(state, estimate.t):
                    continue
                if state in self.settings.actionable:
                    self._actionable.append(estimate.t)
            self._open[state] = _Open(since, estimate.t, p)
            events.append(_event(state, Phase.ONSET, estimate, since))
        return events

    def _leads(self, estimate: Estimate, state: LearnerState) -> bool:
        """Whether a state is far enough before all others; a margin of 0 asks for no lead."""
        if self.settings.margin == 0:
            return True
        others = [float(p) for other, p in zip(STATES, estimate.states, strict=True) if other is not state]
        return _probability(estimate, state) - max(others) >= self.settings.margin

    def _affordable(self, state: LearnerState, t: float) -> bool:
        """Whether the budget allows an onset; one that it forbids comes later if the state still holds."""
        if state not in self.settings.actionable:
            return True
        while self._actionable and t - self._actionable[0] >= _BUDGET_WINDOW_S:
            self._actionable.popleft()
        if len(self._actionable) < self.settings.budget_per_minute:
            return True
        if state not in self._suppressed_now:
            self._suppressed_now.add(state)
            self.suppressed += 1
        return False

    def _offset(
        self, state: LearnerState, estimate: Estimate, reason: OffsetReason, t: float | None = None
    ) -> LearnerEvent:
        held = self._open.pop(state)
        end = estimate.t if t is None else t
        self._ended[state] = end
        # A state that decayed ended when it fell below the threshold, not when we were sure of it.
        t_end = held.below_since if reason is OffsetReason.DECAY and held.below_since is not None else end
        return _event(state, Phase.OFFSET, estimate, held.t_start, t=end, t_end=t_end, reason=reason)


def _was_told(estimate: Estimate, before: Estimate | None, state: LearnerState) -> bool:
    """Whether the host's word made a state likelier: no flicker of a face, so there is nothing to wait for."""
    return estimate.evidence is Evidence.HOST and (
        before is None or _probability(estimate, state) > _probability(before, state)
    )


def _probability(estimate: Estimate, state: LearnerState) -> float:
    return float(estimate.states[STATES.index(state)])


def _event(
    state: LearnerState,
    phase: Phase,
    estimate: Estimate,
    t_start: float,
    *,
    t: float | None = None,
    t_end: float | None = None,
    reason: OffsetReason | None = None,
) -> LearnerEvent:
    return LearnerEvent(
        kind=state.value,
        phase=phase.value,
        confidence=_probability(estimate, state),
        t=estimate.t if t is None else t,
        t_start=t_start,
        t_end=t_end,
        reason=None if reason is None else reason.value,
        states=estimate.state_map(),
        valence=estimate.valence,
        arousal=estimate.arousal,
        evidence=estimate.evidence.value,
    )
