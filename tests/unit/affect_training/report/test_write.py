import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affect_ensemble.plugin import SHIPPED
from affect_training.cli.report import report as command
from affect_training.data import FaceData, Split
from affect_training.evaluation import calibration, metrics
from affect_training.evaluation.calibration import calibrated
from affect_training.evaluation.metrics import Floats
from affect_training.export.weights import export, exported_sha256
from affect_training.report.facts import Answers, CardFacts
from affect_training.report.style import Plot
from affect_training.report.subject import Subject, _facts_of, open_subject
from affect_training.report.write import write_report
from affect_training.run import open_run
from click.testing import CliRunner
from support.tiny import install_tiny, tiny_faces, tiny_split, write_fer2013

from affect.errors import MediaError, SettingsError
from affect.inference.checkpoint import load_sidecar
from affect.inference.device import Device
from affect.plugins import PluginHost
from affect.types import Calibration


@pytest.fixture(autouse=True)
def _tiny_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)


@pytest.fixture
def subject(split: Split, answers: Floats) -> Subject:
    served = metrics.softmax(np.log(answers), 1.5)
    return Subject(
        name="tiny <1>",
        split_name="PrivateTest",
        split=split,
        raw=answers,
        served=served,
        honest=served,
        calibration=Calibration(1.5),
        facts=CardFacts(
            name="tiny",
            weights_sha256="ab" * 32,
            training={"config": {"recipe": "tiny", "train": {"lr": 0.1, "nesterov": True}}},
        ),
        provenance={"device": "cpu", "packages": {"torch": "2"}, "config": {"recipe": "tiny"}},
    )


# Subjects


def test_a_run_is_judged_by_its_best_weights(trained: Path) -> None:
    subject = open_subject(str(trained), tiny_faces(), "PublicTest", "cpu")
    assert subject.name == "tiny-seed5"
    assert [row.epoch for row in subject.log] == [1, 2, 3]
    best = max(subject.log, key=lambda row: row.accuracy)
    assert metrics.accuracy(subject.raw, subject.split.labels) == pytest.approx(best.accuracy, abs=0.05)
    assert subject.best_epoch in {row.epoch for row in subject.log if row.accuracy == best.accuracy}
    assert np.allclose(subject.served, calibrated(np.log(subject.raw), subject.calibration))
    crossed = calibration.cross_fitted(np.log(subject.raw), subject.split.labels, power=True)
    assert np.allclose(subject.honest, crossed, atol=1e-6)
    assert subject.facts.answers is not None
    assert subject.facts.recipe is not None


def test_elsewhere_than_on_public_test_the_calibration_is_as_served(trained: Path) -> None:
    data = tiny_faces()
    subject = open_subject(str(trained), data, "Training", "cpu")
    assert len(subject.split) == 64
    assert np.array_equal(subject.honest, subject.served)
    assert subject.facts.answers is not None
    assert len(subject.facts.answers.labels) == 21  # the card is about PublicTest whatever the page shows


def test_other_data_than_that_of_the_run_is_refused(trained: Path) -> None:
    other = FaceData(tiny_faces().splits, {"Training": 0, "PublicTest": 0}, "1" * 64)
    with pytest.raises(MediaError, match="was trained on data with sha256 0000000000000000"):
        open_subject(str(trained), other, "PublicTest", "cpu")


def test_a_backend_is_judged_as_users_get_it() -> None:
    subject = open_subject("cnn", tiny_faces(), "PublicTest", "cpu")
    assert subject.name == "cnn"
    sidecar = load_sidecar(Path(str(PluginHost().backends.get("cnn").weights)))
    assert subject.calibration == Calibration(sidecar.temperature, sidecar.power)
    back = calibrated(np.log(subject.raw), subject.calibration)
    assert np.allclose(back, subject.served, atol=1e-6)
    assert subject.log == ()
    assert "judged_on" in subject.provenance


def test_an_ensemble_is_reported_with_its_members_by_name_or_by_manifest(tmp_path: Path) -> None:
    by_name = open_subject("ensemble", tiny_faces(), "PublicTest", "cpu")
    by_manifest = open_subject(str(SHIPPED), tiny_faces(), "PublicTest", "cpu")
    sums = [[(voter.name, voter.weights_sha256) for voter in one.facts.members] for one in (by_name, by_manifest)]
    assert sums[0] == sums[1]
    assert len(sums[0]) > 1
    assert by_name.facts.licence
    np.testing.assert_array_equal(by_name.served, by_manifest.served)


def test_a_card_never_describes_other_weights_than_those_that_answer(trained: Path, tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    sidecar = export(open_run(trained, tiny_faces(), Device("cpu", "float32")), weights)
    backend = PluginHost().create_backend(str(weights), Device("cpu"))
    with pytest.raises(SettingsError, match=rf"cnn runs with other weights \({sidecar.weights_sha256[:12]}\)"):
        _facts_of("cnn", backend, PluginHost())


def test_what_a_run_was_trained_on_is_asked_for_when_it_is_not_fer2013(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    facts = json.loads((trained / "run.json").read_text())
    facts["data_set"] = {"kind": "folders", "name": "classroom", "aux": []}
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(SettingsError, match="trained on 'classroom', not on FER2013"):
        open_subject(str(folder), tiny_faces(), "PublicTest", "cpu")
    subject = open_subject(str(folder), tiny_faces(), "PublicTest", "cpu", about="pupils who agreed")
    assert subject.facts.data == "classroom: pupils who agreed."
    with pytest.raises(SettingsError, match="--about is for the folder of a run; cnn already says"):
        open_subject("cnn", tiny_faces(), "PublicTest", "cpu", about="x")


def test_a_split_that_is_not_there_is_an_error(trained: Path) -> None:
    with pytest.raises(MediaError, match="no split 'PrivateTest'"):
        open_subject(str(trained), tiny_faces(), "PrivateTest", "cpu")


# The report


def test_the_page_has_all_of_it(subject: Subject, tmp_path: Path) -> None:
    page = write_report(subject, tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"<h2 id=[^>]*>([^<]*)", text)
    assert headings == [
        "Confusion",
        "Emotions",
        "Calibration",
        "Right",
        "Wrong",
        "Surest errors",
        "Provenance",
        "Model card",
    ]
    assert "<h1>tiny &lt;1&gt;</h1>" in text
    accuracy = metrics.accuracy(subject.served, subject.split.labels)
    assert f"<dd>{100 * accuracy:.1f} %</dd>" in text
    assert '<th scope="row">train.nesterov</th><td>true</td>' in text
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["accuracy"] == accuracy
    assert (found["weights_sha256"], found["fingerprint"]) == ("ab" * 32, None)
    assert (tmp_path / "out" / "card.md").read_text(encoding="utf-8").startswith("# Model card: tiny")
    names = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert names == {path.stem for path in (tmp_path / "out").glob("*.svg")} == {
        "confusion", "confusion-normalised", "per-class", "reliability", "confidence",
        "examples-right", "examples-wrong", "examples-surest-errors",
    }  # fmt: skip


def test_page_and_json_have_the_same_cross_fitted_figures(subject: Subject, tmp_path: Path) -> None:
    crossed = calibration.cross_fitted(np.log(subject.raw), subject.split.labels)
    fitted = replace(subject, split_name="PublicTest", honest=crossed, fitted=True)
    text = write_report(fitted, tmp_path, examples=False).read_text(encoding="utf-8")
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["ece_cross_fitted"] == pytest.approx(metrics.ece(crossed, subject.split.labels))
    for name in ("ece", "nll"):
        tile = re.search(rf"<dt>{name.upper()}, cross-fitted</dt>\s*<dd>([^<]*)</dd>", text)
        assert tile is not None
        assert tile[1] == f"{found[f'{name}_cross_fitted']:.3f}"
        assert tile[1] != f"{found[name]:.3f}"
    assert "Reliability by emotion, cross-fitted" in text


def test_a_report_on_other_data_names_them(subject: Subject, tmp_path: Path) -> None:
    text = write_report(replace(subject, data="AffectNet"), tmp_path, examples=False).read_text(encoding="utf-8")
    assert "PrivateTest of AffectNet, " in text
    assert json.loads((tmp_path / "report.json").read_text())["data"] == "AffectNet"


def test_without_examples_no_face_of_the_data_is_anywhere(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plot, "save", lambda plot, folder: ((folder / f"{plot.name}.png"), folder / f"{plot.name}.svg"))
    monkeypatch.setattr(Plot, "inline", lambda plot, theme: f"data:,{plot.name}")
    said: list[str] = []
    text = write_report(subject, tmp_path, examples=False, progress=said.append).read_text(encoding="utf-8")
    assert "data:image/png" not in text
    assert 'class="example' not in text
    assert said
    assert not any(Path(path).name.startswith("examples") for path in said)


def test_the_command_reports_a_run_with_its_curves(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    # The run was trained on the same faces without a file: let the file have the sum the run knows.
    from affect_training.data import load_faces

    facts = json.loads((trained / "run.json").read_text())
    folder = tmp_path / "run"
    folder.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "run.json").write_text(json.dumps({**facts, "data_sha256": load_faces(data).sha256}))
    evaluation = tmp_path / "e.json"
    answers = np.eye(7)[tiny_split(21, 1).labels] * 0.9 + 0.1 / 7
    from dataclasses import asdict

    from affect_training.evaluation.groups import by_group
    from affect_training.evaluation.report import judge

    report = judge(answers[None], tiny_split(21, 1).labels, "tiny", "PublicTest").to_json()
    del report["temperature"]  # as in files of older versions
    groups = asdict(by_group(answers, tiny_split(21, 1).labels, ["a", "b", "c"] * 7, permutations=5))
    network = open_run(trained, tiny_faces(), Device("cpu")).best()
    evaluation.write_text(json.dumps({**report, "groups": groups, "weights_sha256": exported_sha256(network)}))
    arguments = [str(folder), "--data", str(data), "-o", "out", "--no-examples", "--device", "cpu"]
    result = CliRunner().invoke(command, [*arguments, "--evaluation", str(evaluation)])
    assert result.exit_code == 0, result.output + str(result.exception)
    assert result.output.splitlines()[-1] == "out/report.html"
    assert (tmp_path / "out" / "curves.svg").exists()
    assert (tmp_path / "out" / "groups.svg").exists()
    evaluation.write_text(json.dumps({**report, "groups": groups, "weights_sha256": "0" * 64}))
    refused = CliRunner().invoke(command, [*arguments, "--evaluation", str(evaluation)])
    assert isinstance(refused.exception, SettingsError)
    assert "e.json judged other weights" in refused.exception.message


def test_answers_of_a_subject_without_weights_make_a_card(subject: Subject) -> None:
    from affect_training.report.card import card

    facts = CardFacts(name="voters", answers=Answers(subject.served, subject.split.labels))
    assert "## Emotions" in card(facts)
