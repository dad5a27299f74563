"""Settings of the learner model. Every number carries its source; `[D]` marks a design proposal.

They are settings so that a study can change them. What is fitted on people is no setting but a document of its own
(`affect.settings.fit`), and belongs to one backend.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from affect.labels import EMOTIONS, STATES, Emotion, LearnerState

N, E, C, F, B, D, S = STATES
_FROZEN = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _sourced(default: Any, description: str, source: str, **bounds: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"source": source}, **bounds)


def _require_all(table: Iterable[str], names: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a name."""
    if missing := set(names) - set(table):
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}")


class HmmSettings(BaseModel):
    """Estimator `hmm`: a continuous-time hidden Markov model over seven learner states."""

    model_config = _FROZEN

    base_rates: dict[LearnerState, float] = _sourced(
        {N: 0.29, E: 0.24, C: 0.17, F: 0.09, B: 0.14, D: 0.04, S: 0.03},
        "Long-run share of each state.",
        "AutoTutor studies (D'Mello & Graesser 2012), from memory",
    )
    half_lives_s: dict[LearnerState, float] = _sourced(
        {N: 20, E: 30, C: 20, F: 15, B: 45, D: 5, S: 4},
        "Half of the stays in a state are over after this long, seconds.",
        "[D], ordered as in D'Mello & Graesser 2011 (half-life of affective states)",
    )
    affinities: dict[str, float] = _sourced(
        {
            "engagement-confusion": 3, "confusion-frustration": 3, "frustration-boredom": 3,
            "engagement-delight": 2, "surprise-confusion": 2, "confusion-delight": 1.2, "confusion-boredom": 1,
            "engagement-boredom": 0.4, "engagement-frustration": 0.4, "delight-frustration": 0.3,
            "delight-boredom": 0.3,
        },
        "How much likelier than chance two states follow each other, both ways; 1 when not named.",
        "[D], after the transitions of D'Mello & Graesser 2012",
    )  # fmt: skip
    emission: dict[LearnerState, tuple[float, ...]] = _sourced(
        {
            N: (0.03, 0.02, 0.02, 0.05, 0.07, 0.03, 0.78),
            E: (0.05, 0.02, 0.03, 0.07, 0.06, 0.05, 0.72),
            C: (0.17, 0.05, 0.08, 0.05, 0.14, 0.12, 0.39),
            F: (0.20, 0.09, 0.05, 0.17, 0.15, 0.04, 0.30),
            B: (0.06, 0.05, 0.02, 0.03, 0.22, 0.02, 0.60),
            D: (0.01, 0.01, 0.01, 0.80, 0.01, 0.06, 0.10),
            S: (0.03, 0.02, 0.10, 0.12, 0.02, 0.62, 0.09),
        },
        "P(emotion | state), emotions angry disgust fear happy sad surprise neutral.",
        "[D], after Craig et al. 2008, Hoque 2012 (smiles in frustration), McDaniel 2007 (boredom looks neutral)",
    )
    class_shares: dict[Emotion, float] = _sourced(
        {
            Emotion.ANGRY: 0.139, Emotion.DISGUST: 0.015, Emotion.FEAR: 0.143, Emotion.HAPPY: 0.251,
            Emotion.SAD: 0.168, Emotion.SURPRISE: 0.110, Emotion.NEUTRAL: 0.173,
        },
        "Class shares the backend was calibrated on; divided out, so that its prior is not taken for evidence.",
        "FER2013 Training split",
    )  # fmt: skip
    min_share: float = _sourced(
        0.03, "Shares are not taken smaller than this: a rare class's ratio would be all noise.", "[D]", ge=0, le=1
    )
    frame_s: float = _sourced(
        2.0,
        "A single picture, the first or one after a gap, counts for at most this long, seconds.",
        "[D], not in the design, which lets one weigh as much as tau_c_s of them: then one blink makes an onset",
        gt=0,
    )
    tau_c_s: float = _sourced(
        2.0,
        "Frames closer than this are one observation: the likelihood is raised to min(1, dt / tau), seconds.",
        "chosen by simulation, seeds 1-3 (docs/learner-model.md); the design proposed 3-5",
    )
    baseline_s: float = _sourced(
        60.0, "Seconds with a face, from the session's start, that set the person's neutral.", "[D]", ge=0
    )
    baseline_weight: float = _sourced(
        0.25,
        "How far a long baseline of the person replaces the population's, 0-1; see baseline_prior_s.",
        "chosen by simulation: 0.5 takes a state of the first minute for the person's rest",
    )
    baseline_prior_s: float = _sourced(
        20.0, "Seconds of face at which the baseline counts half; shrinks short sessions to none.", "[D]", ge=0
    )
    host_evidence: dict[str, dict[LearnerState, float]] = _sourced(
        {
            "answer_correct": {N: 1, E: 1.3, C: 0.6, F: 0.5, B: 1, D: 1.6, S: 1},
            "answer_wrong": {N: 1, E: 0.9, C: 1.5, F: 1.5, B: 1, D: 0.4, S: 1.1},
            "slow_response": {N: 1, E: 0.9, C: 1.5, F: 1.2, B: 1.5, D: 0.6, S: 0.9},
            "fast_guess": {N: 0.9, E: 0.5, C: 0.7, F: 1.5, B: 2, D: 0.6, S: 0.8},
            "hint_request": {N: 0.9, E: 1, C: 2, F: 1.4, B: 0.6, D: 0.5, S: 0.9},
            "off_task": {N: 0.8, E: 0.3, C: 0.6, F: 1.3, B: 3, D: 0.8, S: 0.8},
            "typed_frustration": {N: 0.4, E: 0.3, C: 1.2, F: 6, B: 1, D: 0.1, S: 0.5},
        },
        "Likelihood of each state given what the host saw, up to a factor.",
        "[D], directions after D'Mello & Graesser 2010 (dialogue cues)",
    )
    tau_host_s: float = _sourced(
        10.0, "Host evidence of one kind that comes closer than this counts less, seconds.", "[D]"
    )

    correction_factor: float = _sourced(
        8.0, "How much likelier a state becomes when the learner or tutor says it is the true one.", "[D]", ge=1
    )
    correction_least: float = _sourced(
        0.6,
        "Its probability is at least this then, however sure the face was of another.",
        "[D], not in the design",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _complete(self) -> "HmmSettings":
        _require_all(self.class_shares, EMOTIONS, "class_shares")
        for name in ("base_rates", "half_lives_s", "emission"):
            _require_all(getattr(self, name), STATES, name)
        if min(self.base_rates.values()) <= 0 or min(self.half_lives_s.values()) <= 0:
            raise ValueError("base rates and half-lives must be positive")
        for state, row in self.emission.items():
            if len(row) != len(EMOTIONS) or min(row) <= 0 or abs(sum(row) - 1) > 0.02:
                raise ValueError(f"emission.{state} must be {len(EMOTIONS)} positive numbers that sum to 1, got {row}")
        for pair, value in self.affinities.items():
            names = pair.split("-")
            if len(set(names)) != 2 or not set(names) <= set(STATES) or value < 0:
                raise ValueError(f"affinities.{pair}: expected STATE-STATE = number, states {', '.join(STATES)}")
            if f"{names[1]}-{names[0]}" in self.affinities:
                raise ValueError(f"affinities.{pair} is named twice, in both orders")
        if min(self.class_shares.values()) < 0 or max(self.class_shares.values()) <= 0:
            raise ValueError("class_shares must not be negative, and not all zero")
        for kind, row_by_state in self.host_evidence.items():
            if set(row_by_state) != set(STATES) or min(row_by_state.values()) <= 0:
                raise ValueError(f"host_evidence.{kind} must give a positive number for each of {', '.join(STATES)}")
        if min(self.tau_c_s, self.tau_host_s, self.correction_factor) <= 0 or not 0 <= self.baseline_weight <= 1:
            raise ValueError(
                "tau_c_s, tau_host_s and correction_factor must be positive, baseline_weight between 0 and 1"
            )
        return self


class FittedSettings(HmmSettings):
    """Estimator `fitted`: the chain of `hmm`, with evidence from heads that were fitted on labelled faces.

    What is set under `[plugins.hmm]` holds here too, unless `[plugins.fitted]` says otherwise.
    """

    tau_heads_s: float = Field(
        default=20.0,
        gt=0,
        description="As tau_c_s, for the heads: this many seconds of frames weigh as one observation, seconds.",
        json_schema_extra={"source": "DAiSEE train, cross-validated by person (docs/learner-model.md)"},
    )
    max_ratio: float = Field(
        default=8.0,
        gt=1,
        description="A face makes a state at most this much likelier or less likely.",
        json_schema_extra={"source": "[D], guards against faces unlike all that were fitted on"},
    )
    person_weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="How far the heads' mean over the session's past is taken for the person, and subtracted, 0-1.",
        json_schema_extra={"source": "DAiSEE train, cross-validated by person: it costs more than it gains"},
    )
    person_prior: float = Field(
        default=5.0,
        gt=0,
        description="Observations (of tau_heads_s each) after which half of person_weight is reached.",
        json_schema_extra={"source": "[D]"},
    )


class CircumplexSettings(BaseModel):
    """Valence and arousal of a face, smoothed."""

    model_config = _FROZEN

    valence: dict[Emotion, float] = _sourced(
        {
            Emotion.HAPPY: 0.90, Emotion.SAD: -0.80, Emotion.ANGRY: -0.65, Emotion.FEAR: -0.70,
            Emotion.DISGUST: -0.65, Emotion.SURPRISE: 0.30, Emotion.NEUTRAL: 0.0,
        },
        "Valence of each emotion, -1..1.",
        "[D], from word norms (Russell 1980; Warriner et al. 2013)",
    )  # fmt: skip
    arousal: dict[Emotion, float] = _sourced(
        {
            Emotion.HAPPY: 0.50, Emotion.SAD: -0.50, Emotion.ANGRY: 0.50, Emotion.FEAR: 0.50,
            Emotion.DISGUST: 0.30, Emotion.SURPRISE: 0.55, Emotion.NEUTRAL: 0.0,
        },
        "Arousal of each emotion, -1..1.",
        "[D], from word norms (Russell 1980; Warriner et al. 2013)",
    )  # fmt: skip
    min_cutoff_hz: float = _sourced(0.3, "One-euro filter: cut-off at rest.", "[D], filter of Casiez et al. 2012", gt=0)
    beta: float = _sourced(0.05, "One-euro filter: how fast the cut-off grows with speed.", "[D]", ge=0)
    derivative_cutoff_hz: float = _sourced(1.0, "One-euro filter: cut-off of the speed.", "Casiez et al. 2012", gt=0)

    @model_validator(mode="after")
    def _complete(self) -> "CircumplexSettings":
        for name in ("valence", "arousal"):
            table: dict[Emotion, float] = getattr(self, name)
            _require_all(table, EMOTIONS, name)
            if max(map(abs, table.values())) > 1:
                raise ValueError(f"{name}: expected numbers from -1 to 1")
        return self


class Timing(BaseModel):
    """How long a state must hold before its onset, and how long after an offset it may not return, seconds."""

    model_config = _FROZEN

    dwell_s: float = Field(ge=0)
    cooldown_s: float = Field(ge=0)


class EventSettings(BaseModel):
    """When a belief becomes an event."""

    model_config = _FROZEN

    enter: float = _sourced(
        0.3,
        "Probability at which a state may begin.",
        "chosen by simulation, seeds 1-3 (docs/learner-model.md); the design proposed .55",
    )
    margin: float = _sourced(
        0.0,
        "Lead over every other state that an onset needs; 0 asks for none, so two states may hold together.",
        "chosen by simulation; the design proposed .15",
    )
    leave: float = _sourced(
        0.15, "Probability below which a state ends.", "chosen by simulation; the design proposed .40"
    )
    enter_odds: float = _sourced(
        1.8,
        "A state may begin only at this many times the odds of its base rate, whatever `enter` says.",
        "chosen by simulation (docs/learner-model.md); not in the design",
        ge=1,
    )
    leave_odds: float = _sourced(
        1.3,
        "A state ends below this many times the odds of its base rate, whatever `leave` says: a belief that has "
        "drifted back there knows nothing.",
        "chosen by simulation (docs/learner-model.md); not in the design",
        ge=1,
    )
    leave_s: float = _sourced(
        3.0, "How long it must stay below, seconds.", "chosen by simulation; the design proposed 2", ge=0
    )
    timing: dict[LearnerState, Timing] = _sourced(
        {
            S: Timing(dwell_s=0.8, cooldown_s=10), D: Timing(dwell_s=1.5, cooldown_s=10),
            C: Timing(dwell_s=2, cooldown_s=20), F: Timing(dwell_s=2, cooldown_s=20),
            B: Timing(dwell_s=2, cooldown_s=20), E: Timing(dwell_s=2, cooldown_s=20),
        },
        "Dwell and cool-down of each state that makes events; neutral makes none.",
        "surprise and delight [D]; the others by simulation, the design proposed 4-15 s dwell, 20-60 s cool-down",
    )  # fmt: skip
    update_s: float = _sourced(5.0, "An open state is updated at most this often, seconds.", "[D]", ge=0)
    update_change: float = _sourced(
        0.1, "…or when its probability moved this far (then at most once a second).", "[D]", ge=0
    )
    actionable: tuple[LearnerState, ...] = _sourced(
        (C, F, B), "States a tutor acts on; their onsets are budgeted.", "[D]"
    )
    budget_per_minute: int = _sourced(2, "Actionable onsets in any 60 seconds.", "[D]", ge=0)

    @field_validator("timing", mode="before")
    @classmethod
    def _named_states_only(cls, value: Any) -> Any:
        """A table in `affect.toml` changes the states it names and leaves the others as they are."""
        return {**cls.model_fields["timing"].default, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _ordered(self) -> "EventSettings":
        if not 0 < self.leave <= self.enter < 1 or not 0 <= self.margin < 1:
            raise ValueError(
                f"expected 0 < leave <= enter < 1 and 0 <= margin < 1, got leave {self.leave}, "
                f"enter {self.enter}, margin {self.margin}"
            )
        if self.leave_odds > self.enter_odds:
            raise ValueError(f"expected leave_odds <= enter_odds, got {self.leave_odds} and {self.enter_odds}")
        if N in self.timing:
            raise ValueError("timing.neutral: neutral makes no events")
        if strange := set(self.actionable) - set(self.timing):
            raise ValueError(f"actionable: no events of {', '.join(sorted(strange))}")
        return self

    def thresholds(
        self, base_rates: Mapping[LearnerState, float]
    ) -> tuple[dict[LearnerState, float], dict[LearnerState, float]]:
        """Return the probabilities at which each state with events may begin, and below which it ends."""

        def over(odds: float, state: LearnerState) -> float:
            rate = base_rates.get(state, 0.0)
            return odds * rate / (1 - rate + odds * rate)

        enter = {state: max(self.enter, over(self.enter_odds, state)) for state in self.timing}
        leave = {state: max(self.leave, over(self.leave_odds, state)) for state in self.timing}
        return enter, leave


class LearnerSettings(BaseModel):
    """From faces over time to learner states and events."""

    model_config = _FROZEN

    estimator: str = Field(default="fitted", description="Name of a registered estimator.")
    fit: Path | None = Field(
        default=None,
        description="A document of `affect-train learner fit --out`; what lies with the backend's weights by default.",
    )
    max_yaw: float = _sourced(30.0, "Faces turned further give no evidence, degrees.", "[D]", ge=0)
    min_quality: float = _sourced(0.3, "Faces of lower quality give no evidence, 0-1.", "[D]", ge=0, le=1)
    absent_s: float = _sourced(5.0, "No face for this long means absent, seconds.", "[D]", gt=0)
    hold_s: float = _sourced(
        3.0,
        "Without evidence nothing begins or ends for this long: a hand before the face is no event.",
        "[D]",
        ge=0,
    )
    blind_s: float = _sourced(
        30.0,
        "Without evidence for this long open states end, though somebody may be there: nobody knows any more.",
        "[D], not in the design",
        gt=0,
    )
    circumplex: CircumplexSettings = Field(default_factory=CircumplexSettings)
    events: EventSettings = Field(default_factory=EventSettings)

    @model_validator(mode="after")
    def _ordered(self) -> "LearnerSettings":
        if self.hold_s > self.blind_s:
            raise ValueError(f"expected hold_s <= blind_s, got {self.hold_s} and {self.blind_s}")
        return self
