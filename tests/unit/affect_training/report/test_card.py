from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affect_training.data import Split
from affect_training.evaluation import calibration, metrics
from affect_training.evaluation.adversarial import Adversarial, AttackFigures
from affect_training.evaluation.calibration import uncalibrated
from affect_training.evaluation.groups import by_group
from affect_training.evaluation.metrics import Floats
from affect_training.evaluation.report import judge
from affect_training.evaluation.robustness import robustness
from affect_training.report.card import FER2013_LIMITS, LIMITS, MUST_NOT, OTHER_LIMITS, card
from affect_training.report.facts import Answers, CardFacts, Voter, find_facts
from affect_training.report.further import Evaluation, WholePictures
from affect_training.report.measured import reliability_rows
from click.testing import CliRunner

from affect.inference.checkpoint import Metric
from affect.labels import EMOTIONS, STATES
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect.settings.fit import LearnerFit, StateFigures
from affect.types import ByteArray, Calibration


@pytest.fixture
def facts(split: Split, answers: Floats) -> CardFacts:
    recipe = RecipeSpec(
        name="fine",
        architecture="m:Net",
        summary="fine-tuned",
        source="a paper",
        published="70 % (PrivateTest)",
        init_notes={"faces": "Trained on faces of the web; research only."},
    )
    return CardFacts(
        name="fine-1",
        summary="fine-tuned",
        architecture="m:Net",
        parameters=1234567,
        megabytes=2.5,
        calibration=Calibration(1.25),
        weights_sha256="ab" * 32,
        data="FER2013.",
        licence="MIT",
        training={
            "config": {"recipe": "fine", "init": "faces:package", "train": {"lr": 0.1}},
            "faces": {"Training": 28697},
            "blank_dropped": {"Training": 12},
            "data_sha256": "cd" * 32,
            "selection": "epoch with the best PublicTest accuracy",
            "best_epoch": 3,
            "epochs": 9,
            "minutes": 4.5,
        },
        metrics={
            "accuracy": Metric(value=0.71, ci95=(0.69, 0.73), split="PublicTest", n=3588),
            "ece": Metric(value=0.02, split="PublicTest", n=3588),
            "ece_uncalibrated": Metric(value=0.05, split="PublicTest", n=3588),
            "recall_sad": Metric(value=0.5, split="PublicTest", n=653),
        },
        recipe=recipe,
        answers=Answers(answers, split.labels),
    )


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of all tables below a heading, without heads."""
    part = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    starts = [k for k, line in enumerate(lines) if set(line) <= set("|-")]
    kept = [line for k, line in enumerate(lines) if k not in starts and k + 1 not in starts]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in kept]


def test_a_card_says_what_the_files_say(facts: CardFacts) -> None:
    text = card(facts)
    assert text.startswith("# Model card: fine-1\n\nfine-tuned.\n")
    for part in ("1,234,567", "2.5 MB", "`m:Net`", "a paper", "70 % (PrivateTest)", "ab" * 32, "cd" * 32, "MIT."):
        assert part in text
    assert "**Pretrained start** `faces:package`. Trained on faces of the web; research only." in text
    assert ["Training", "28,697", "12"] in rows(text, "Data and licence")
    assert ["epoch", "3 of 9"] in rows(text, "Selection")
    assert ["accuracy", "0.7100", "0.690-0.730", "PublicTest", "3588"] in rows(text, "Figures")
    assert not any("recall" in row[0] for row in rows(text, "Figures"))  # they are below, by emotion
    assert "Calibration: temperature 1.25. ECE (15 bins) 0.0500 before, 0.0200 after" in text


def test_every_card_says_what_it_must_not_be_used_for_and_what_limits_it(facts: CardFacts) -> None:
    for known in (facts, CardFacts(name="nothing known")):
        text = card(known)
        assert all(f"- {line}" in text for line in (*MUST_NOT, *LIMITS, *FER2013_LIMITS))


def test_the_limits_of_a_data_set_are_told_of_what_was_trained_on_it(facts: CardFacts) -> None:
    training = {**facts.training, "data_set": {"kind": "folders", "name": "classroom", "aux": []}}
    other = replace(facts, training=training)
    assert "FER2013 is made of" not in card(other)
    assert all(f"- {line}" in card(other) for line in (*OTHER_LIMITS, *LIMITS))
    both = CardFacts(name="pair", members=(Voter("a", 1, {}, facts), Voter("b", 1, {}, other)))
    assert all(f"- {line}" in card(both) for line in (*FER2013_LIMITS, *OTHER_LIMITS))


def test_figures_by_emotion_are_those_of_the_answers(facts: CardFacts, split: Split, answers: Floats) -> None:
    counts = metrics.confusion(answers.argmax(1), split.labels, 7)
    found = rows(card(facts), "Emotions")
    for emotion, figures, row in zip(EMOTIONS, metrics.per_class(counts), found[:7], strict=True):
        assert row[:3] == [emotion.value, "10", f"{figures.precision:.3f}"]
        assert row[3].startswith(f"{figures.recall:.3f} (")
    assert [row[1:] for row in found[7:]] == [[f"{v:.2f}" for v in row] for row in metrics.normalised(counts)]


def test_reliability_by_emotion_is_cross_fitted(facts: CardFacts, split: Split, answers: Floats) -> None:
    sure = answers.copy()
    sure[:, 4] = 0.0  # sad, never, and float16 has no less
    found = rows(card(replace(facts, answers=Answers(sure, split.labels))), "Calibration")
    outputs = np.log(uncalibrated(np.clip(sure, 1e-7, None), Calibration(1.25)))
    crossed = calibration.cross_fitted(outputs, split.labels)
    expected = metrics.class_reliability(crossed, split.labels)
    assert [row[0] for row in found] == [e.value for e in EMOTIONS]
    for row, figures in zip(found, expected, strict=True):
        assert row[1] == str(figures.guessed)
        assert row[5] == f"{figures.ece:.3f}"
    assert found[4][1:5] == ["0", "", "", ""]
    assert found[3][2] == f"{expected[3].confidence:.3f}"


def test_failures_are_found_not_written(facts: CardFacts, split: Split) -> None:
    guess = split.labels.copy()
    guess[split.labels == 1] = 0  # disgust is always taken for angry
    text = card(replace(facts, answers=Answers(np.eye(7)[guess], split.labels)))
    assert "- Of 10 faces labelled disgust, 100 % are missed." in text
    assert "- Disgust is taken for angry in 100 % of its faces." in text
    assert text.count(" is taken for ") == 1
    assert "- Of the guesses with a probability of .9 or more, 14 % are wrong." in text


def test_evaluations_add_other_splits_robustness_attacks_and_groups(
    facts: CardFacts, split: Split, answers: Floats
) -> None:
    def predict(images: ByteArray) -> Floats:
        return answers if images is split.images else np.roll(answers, 1, axis=1)  # any corruption turns all answers

    curves = robustness(predict, split)
    report = judge(np.stack([answers, answers]), split.labels, "fine-1", "PrivateTest", "mirror").to_json()
    found = Evaluation.model_validate(
        {
            **report,
            "source": "private.json",
            "robustness": curves,
            "adversarial": Adversarial(70, 0, 0.6, (0.5, 0.7), (AttackFigures("pgd", 2.0, 0.05, (0, 0.1)),)),
            "groups": by_group(answers, split.labels, ["a", "b"] * 35, permutations=10),
        }
    )
    text = card(replace(facts, evaluations=(found,)))
    figures = {row[0]: row for row in rows(text, "Figures")}
    assert figures["accuracy, mirror"][3:] == ["PrivateTest, private.json", "70"]
    assert figures["ECE, mirror"][1] == f"{report['ece']:.4f}"
    calibration = rows(text, "Calibration")
    assert calibration[-7:] == [list(row) for row in reliability_rows(found.class_reliability)]
    assert "The same on PrivateTest, mirror, from private.json." in text
    assert "accuracy, single view" in figures
    assert [row[0].split(" (")[0] for row in rows(text, "Robustness")] == list(curves.curves)
    assert rows(text, "Under attack") == [["PGD", "0.600", "0.050"]]
    assert [row[0] for row in rows(text, "Groups")] == ["a", "b"]
    assert "- Blur (sigma in pixels 3) takes accuracy from" in text
    assert "may change each pixel by 2 of 255 grey levels brings accuracy to 0.05." in text


def test_on_the_split_of_the_calibration_an_evaluation_shows_its_cross_fitted_figures(
    facts: CardFacts, split: Split, answers: Floats
) -> None:
    report = judge(answers[None], split.labels, "fine-1", "PublicTest", fitted=True).to_json()
    found = Evaluation.model_validate({**report, "source": "public.json"})
    figures = {row[0]: row for row in rows(card(replace(facts, evaluations=(found,))), "Figures")}
    assert figures["ECE, cross-fitted, single view"][1] == f"{report['ece_cross_fitted']:.4f}"
    assert figures["NLL, cross-fitted, single view"][1] == f"{report['nll_cross_fitted']:.4f}"
    assert "ECE, single view" not in figures


def test_faces_in_whole_pictures_have_a_part(facts: CardFacts) -> None:
    found = WholePictures(
        source="full.json",
        backend="fine-1",
        split="PublicTest",
        detector="mtcnn",
        n=100,
        found=90,
        recall=0.9,
        recall_ci95=(0.84, 0.95),
        accuracy_first=0.61,
        accuracy_tracked=0.62,
        accuracy_direct=0.63,
        accuracy_direct_all=0.6,
        difference_ci95=(-0.04, 0.02),
        missed={"sad": (2, 9), "happy": (0, 20)},
        false_faces=3,
    )
    text = card(replace(facts, whole_pictures=(found,)))
    table = dict(rows(text, "Whole pictures"))
    assert table["faces found"] == "0.900 (0.840-0.950)"
    assert table["tracked minus cropped, 95 %"] == "-0.040 to +0.020"
    assert table["missed"] == "sad 2 of 9, happy 0 of 20"
    assert "100 faces of PublicTest, enlarged, laid into pictures, found by `mtcnn`" in text
    assert "- 10 % of faces in whole pictures are not found at all." in text


def test_an_ensemble_lists_its_members(facts: CardFacts) -> None:
    voter = Voter("cnn", 0.25, {"accuracy": Metric(value=0.7, ci95=(0.6, 0.8), split="PublicTest", n=21)})
    known = replace(voter, name="fine-1", facts=facts, weights_sha256=facts.weights_sha256)
    text = card(CardFacts(name="trio", members=(voter, known), vote="weighted vote"))
    assert rows(text, "Members") == [
        ["cnn", "0.250", "0.7000 (0.600-0.800)", ""],
        ["fine-1", "0.250", "0.7000 (0.600-0.800)", f"`{'ab' * 32}`"],
    ]
    assert "**Pretrained start** of fine-1 `faces:package`. Trained on faces of the web; research only." in text


def test_learner_states_come_with_their_areas(facts: CardFacts) -> None:
    state = STATES[2]
    empty = dict.fromkeys([state])
    fit = LearnerFit(
        backend="fine-1",
        weights_sha256=None,
        emission=dict.fromkeys(STATES, (1 / 7,) * 7),
        emission_prior=1.0,
        data="DAiSEE, Train.",
        data_sha256="0",
        faces=1000,
        people=20,
        licence="Research only.",
        figures={
            "heads": StateFigures(
                auc={state: 0.66, STATES[1]: None},
                auc_ci95={state: (0.6, 0.7)},
                auc_per_person=empty,
                auc_per_person_ci95=empty,
                auc_within_person={state: 0.55},
                auc_within_person_ci95={state: None},
                faces=1000,
                people=20,
            )
        },
    )
    text = card(replace(facts, learner=fit))
    assert "1,000 faces of 20 people: DAiSEE, Train. Research only." in text
    assert rows(text, "Learner states") == [["heads", state.value, "0.660", "0.600-0.700", "0.550", ""]]


def test_cells_cannot_break_a_table(facts: CardFacts) -> None:
    text = card(replace(facts, training={"selection": "a | b\nc"}))
    assert "| selected | a \\| b c |" in text


def test_the_bundled_weights_have_a_card() -> None:
    text = card(find_facts("cnn", PluginHost()))
    assert len(rows(text, "Emotions")) == 14
    assert "nguyen2017" in text


def test_the_command_writes_it(tmp_path: Path) -> None:
    from affect_training.cli.card import card as command

    out = tmp_path / "models" / "mine.md"
    result = CliRunner().invoke(command, ["cnn", "--name", "mine", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert out.read_text(encoding="utf-8").startswith("# Model card: mine\n")
    printed = CliRunner().invoke(command, ["cnn", "--name", "mine"])
    assert printed.output == out.read_text(encoding="utf-8")


def test_an_ensemble_has_figures_by_emotion_from_its_evaluation(split: Split, answers: Floats) -> None:
    answers = np.roll(answers, 1, axis=1)  # wrong, so that there is something to say
    whole = judge(answers[None], split.labels, "trio", "PublicTest", "none").to_json()
    mirrored = {**whole, "tta": "mirror"}
    unseen = {**whole, "unseen": True, "confusion": np.zeros((7, 7), int).tolist()}
    evaluations = tuple(
        Evaluation.model_validate({**one, "source": f"{k}.json"}) for k, one in enumerate((unseen, mirrored, whole))
    )
    text = card(CardFacts(name="trio", vote="soft vote", evaluations=evaluations))
    assert "PublicTest, as it votes." in text
    counts = metrics.confusion(answers.argmax(1), split.labels, 7)
    emotions = {row[0]: row for row in rows(text, "Emotions") if len(row) == 6}
    for k, emotion in enumerate(EMOTIONS):
        assert emotions[emotion.value][1] == str(counts[k].sum())
    assert "are missed." in text
    assert "PublicTest, photographs not in Training, 0.json" in text


@pytest.mark.parametrize("change", [{"split": "Training"}, {"split": "PrivateTest"}])
def test_figures_by_emotion_are_those_of_publictest(split: Split, answers: Floats, change: dict[str, str]) -> None:
    found = judge(answers[None], split.labels, "trio", "PublicTest").to_json()
    other = Evaluation.model_validate({**found, **change, "source": "a.json"})
    assert "## Emotions" not in card(CardFacts(name="trio", vote="soft vote", evaluations=(other,)))


@pytest.mark.parametrize(("vote", "said"), [("soft vote", "as it votes"), ("", "single view")])
def test_who_does_not_vote_is_judged_by_a_single_view(split: Split, answers: Floats, vote: str, said: str) -> None:
    found = judge(answers[None], split.labels, "trio", "PublicTest").to_json()
    of = Evaluation.model_validate({**found, "source": "a.json"})
    assert f"PublicTest, {said}." in card(CardFacts(name="trio", vote=vote, evaluations=(of,)))


def test_figures_of_another_data_set_say_so(split: Split, answers: Floats) -> None:
    found = judge(answers[None], split.labels, "trio", "PublicTest").to_json()
    other = Evaluation.model_validate({**found, "data": "AffectNet", "source": "a.json"})
    text = card(CardFacts(name="trio", vote="soft vote", evaluations=(other,)))
    assert "PublicTest of AffectNet, as it votes." in text
    assert "| PublicTest of AffectNet, a.json |" in text


def test_a_run_that_was_cut_says_so(facts: CardFacts) -> None:
    whole = {**facts.training, "best_epoch": 1, "epochs": 2, "config": {"train": {"epochs": 5}}}
    assert "1 of 2 |" in card(replace(facts, training=whole))
    assert "1 of 2; cut, up to 5 were planned |" in card(replace(facts, training={**whole, "finished": False}))


def test_a_sample_is_called_one(split: Split, answers: Floats) -> None:
    found = judge(answers[None], split.labels, "x", "PublicTest", "none").to_json()
    of = Evaluation.model_validate({**found, "source": "a.json", "limit": 50})
    assert "PublicTest, a sample, a.json" in card(CardFacts(name="x", evaluations=(of,)))
    assert "## Emotions" not in card(CardFacts(name="x", evaluations=(of,)))
