"""What the tutor does about what the learner seems to feel: from learner events to a tactic for the next turn.

The rules are those of Affective AutoTutor as far as they are published (D'Mello & Graesser 2012), with limits: seldom,
never on a weak belief, and not for learners who do well, whom such support has hurt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from affect.cloudevents import CloudEvent
from affect.labels import LearnerState, Phase

S = LearnerState


class Tactic(StrEnum):
    """What changes in the next turn."""

    HINT = "hint"  # longer or repeated confusion: help that leaves the work to the learner
    SMALLER_STEP = "smaller_step"  # frustration: blame the material, ask for one word
    ASSERTION = "assertion"  # frustration again: say it
    HARDER = "harder"  # bored and right: a harder question
    ANOTHER = "another_representation"  # bored and wrong: the same in another form
    ACKNOWLEDGE = "acknowledge"  # delight or surprise


class PolicySettings(BaseModel):
    """Limits of the policy; [D] marks a design proposal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_confidence: float = Field(
        default=0.35, ge=0, le=1, description="Act on no weaker belief; an onset comes at about .33 to .40."
    )
    productive_s: float = Field(default=30.0, ge=0, description="[D] Confusion is left alone for so long, seconds.")
    turns_between: int = Field(default=4, ge=1, description="[D] At most one such move in so many turns.")
    mastery: float = Field(
        default=0.8, ge=0, le=1, description="[D] From this share of right turns on, only HARDER and ACKNOWLEDGE."
    )


@dataclass(slots=True)
class _Held:
    """A state that the tutor has been told of and that has not ended."""

    t_start: float
    confidence: float


class AffectPolicy:
    """Keeps what was told and decides once a turn.

    Args:
        settings: Limits.
    """

    def __init__(self, settings: PolicySettings | None = None) -> None:
        self.settings = settings or PolicySettings()
        self._open: dict[LearnerState, _Held] = {}
        self._brief: LearnerState | None = None
        self._confused_before = False
        self._consoled = False
        self._since = self.settings.turns_between  # turns since the last move of ours

    @property
    def open_states(self) -> Mapping[LearnerState, float]:
        """States that the tutor was told of, and since when, seconds on the session's clock."""
        return {state: held.t_start for state, held in self._open.items()}

    def tell(self, event: CloudEvent) -> None:
        """Take a learner event; of presence and corrections nothing is kept: a correction's own onset follows it."""
        data = event.data
        if data.phase not in (Phase.ONSET, Phase.UPDATE, Phase.OFFSET):
            return
        state = LearnerState(data.state)
        if data.phase == Phase.OFFSET:
            if self._open.pop(state, None) is not None and state is S.CONFUSION:
                self._confused_before = True
            return
        self._open[state] = _Held(data.t_start, data.confidence)
        if data.phase == Phase.ONSET and state in (S.DELIGHT, S.SURPRISE) and self._sure(state):
            self._brief = state

    def begin(self, states: Mapping[LearnerState, float]) -> None:
        """Take what a snapshot says is open, and since when; how sure that is, if not known, comes with an update."""
        known = self._open
        self._open = {state: known.get(state) or _Held(since, 0.0) for state, since in states.items()}

    def new_question(self) -> None:
        """Forget what belongs to a question: the first confusion of each is left alone again."""
        self._confused_before = self._consoled = False

    def decide(self, t: float, *, right: bool, mastery: float) -> Tactic | None:
        """Return what to change in this turn, at most once in `turns_between`.

        Args:
            t: Now, on the session's clock.
            right: Whether the turn just taken was a good one.
            mastery: Share of the learner's turns so far that were, 0-1.
        """
        self._since += 1
        brief, self._brief = self._brief, None
        if self._since < self.settings.turns_between:
            return None
        tactic = self._wanted(t, right=right, brief=brief)
        if tactic not in (Tactic.HARDER, Tactic.ACKNOWLEDGE) and mastery >= self.settings.mastery:
            return None
        if tactic is not None:
            self._since = 0
            self._consoled = self._consoled or tactic is Tactic.SMALLER_STEP
        return tactic

    def unused(self) -> None:
        """Say that the last decision could not change anything: the next one need not wait for it."""
        self._since = self.settings.turns_between

    def _wanted(self, t: float, *, right: bool, brief: LearnerState | None) -> Tactic | None:
        if self._sure(S.FRUSTRATION):
            return Tactic.ASSERTION if self._consoled else Tactic.SMALLER_STEP
        if self._sure(S.CONFUSION):
            lasted = t - self._open[S.CONFUSION].t_start
            return Tactic.HINT if lasted >= self.settings.productive_s or self._confused_before else None
        if self._sure(S.BOREDOM):
            return Tactic.HARDER if right else Tactic.ANOTHER
        return Tactic.ACKNOWLEDGE if brief is not None and right else None

    def _sure(self, state: LearnerState) -> bool:
        held = self._open.get(state)
        return held is not None and held.confidence >= self.settings.min_confidence
