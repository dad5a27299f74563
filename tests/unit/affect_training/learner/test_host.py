import tomllib
from pathlib import Path

import numpy as np
import pytest
from affect_training.cli.learner import learner
from affect_training.learner.host import Transcript, as_toml, fit_host_evidence, of_timeline, simulated
from affect_training.learner.timeline import TimelineSession
from click.testing import CliRunner

from affect.errors import MediaError, SettingsError
from affect.labels import STATES, LearnerState
from affect.learner.score import Segment
from affect.settings.learner import HmmSettings

DESIGN = HmmSettings()
BOREDOM, ENGAGEMENT = LearnerState.BOREDOM, LearnerState.ENGAGEMENT


def test_simulated_talk_gives_back_the_likelihoods_it_was_drawn_with() -> None:
    found = fit_host_evidence(simulated(DESIGN, sessions=60, minutes=30, seed=0), DESIGN, prior=0.5)
    for kind in ("slow_response", "fast_guess", "hint_request"):
        for state in (LearnerState.NEUTRAL, ENGAGEMENT, LearnerState.CONFUSION, BOREDOM):
            row, design = found[kind], DESIGN.host_evidence[kind]
            ratio = row[state] / row[LearnerState.NEUTRAL]
            assert ratio == pytest.approx(design[state] / design[LearnerState.NEUTRAL], rel=0.35), (kind, state)


def test_half_as_telling_dialogue_gives_flatter_likelihoods() -> None:
    whole, half = (
        fit_host_evidence(simulated(DESIGN, sessions=40, minutes=30, seed=1, telling=telling), DESIGN, prior=0.5)
        for telling in (1.0, 0.5)
    )
    spread = [np.std(np.log([row[s] for s in STATES[:5]])) for row in (whole["fast_guess"], half["fast_guess"])]
    assert spread[1] < spread[0]


def transcript(**turns: float) -> Transcript:
    row = np.zeros(len(STATES))
    for state, count in turns.items():
        row[STATES.index(LearnerState(state))] = count
    told = [(BOREDOM, "nod")] * 6 + [(ENGAGEMENT, "nod")] * 2
    return Transcript(tuple(told), row)


def test_a_new_kind_starts_from_one_and_follows_what_was_told() -> None:
    (row,) = [fit_host_evidence([transcript(boredom=20, engagement=20)], DESIGN, prior=0.0001)["nod"]]
    assert row[BOREDOM] == pytest.approx(6 / 20 / (8 / 40), abs=0.01)
    assert row[ENGAGEMENT] == pytest.approx(2 / 20 / (8 / 40), abs=0.01)
    assert row[LearnerState.DELIGHT] == pytest.approx(1.0, abs=0.01)  # nobody was delighted


def test_a_strong_prior_keeps_the_design() -> None:
    found = fit_host_evidence([transcript(boredom=20, engagement=20)], DESIGN, prior=1e6)
    assert found["nod"] == pytest.approx(dict.fromkeys(STATES, 1.0), abs=0.01)
    assert found["off_task"] == pytest.approx(DESIGN.host_evidence["off_task"])


def test_nothing_told_is_nothing_to_fit() -> None:
    with pytest.raises(MediaError, match="nothing to fit"):
        fit_host_evidence([Transcript((), np.ones(len(STATES)))], DESIGN)


def test_a_studys_time_lines_count_time_and_evidence_in_states() -> None:
    session = TimelineSession(
        "a",
        (Segment(BOREDOM, 10.0, 50.0), Segment(ENGAGEMENT, 50.0, 70.0)),
        ((5.0, "nod"), (12.0, "nod"), (50.0, "nod"), (80.0, "nod")),
        None,
    )
    found = of_timeline(session, turn_s=20.0)
    assert found.told == ((BOREDOM, "nod"), (ENGAGEMENT, "nod"))
    assert found.turns[STATES.index(BOREDOM)] == 2
    assert found.turns[STATES.index(ENGAGEMENT)] == 1


def test_the_table_is_one_the_settings_take() -> None:
    text = as_toml(fit_host_evidence([transcript(boredom=20, engagement=20)], DESIGN))
    table = tomllib.loads(text)["plugins"]["hmm"]
    assert HmmSettings.model_validate(table).host_evidence["nod"][BOREDOM] > 1


def test_the_command_prints_it(tmp_path: Path) -> None:
    out = tmp_path / "there" / "host.toml"
    arguments = ["fit-host", "--simulate", "2", "--minutes", "5", "--out", str(out)]
    result = CliRunner().invoke(learner, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "plugins" in tomllib.loads(out.read_text(encoding="utf-8"))
    with pytest.raises(SettingsError, match="name one"):
        CliRunner().invoke(learner, ["fit-host"], catch_exceptions=False)


def test_the_command_takes_a_study(tmp_path: Path) -> None:
    (tmp_path / "timeline.csv").write_text("session,start_s,end_s,state\na,0,300,boredom\n", encoding="utf-8")
    rows = "\n".join(f"a,{t},off_task" for t in range(10, 200, 10))
    (tmp_path / "evidence.csv").write_text(f"session,t,kind\n{rows}\n", encoding="utf-8")
    result = CliRunner().invoke(learner, ["fit-host", "--data", str(tmp_path), "--prior", "1"], catch_exceptions=False)
    row = tomllib.loads(result.output)["plugins"]["hmm"]["host_evidence"]["off_task"]
    assert row["boredom"] > row["neutral"]


def test_kinds_of_any_name_make_a_table() -> None:
    row = dict.fromkeys(STATES, 1.5)
    table = tomllib.loads(as_toml({"asked for help": row, "quiz.failed": row, 'a "b"': row}))["plugins"]["hmm"]
    assert set(table["host_evidence"]) == {"asked for help", "quiz.failed", 'a "b"'}
    HmmSettings.model_validate(table)
