import csv
import json
from pathlib import Path
from typing import Any

import pytest
from affect_training.cli.learner import learner
from affect_training.learner import study
from affect_training.learner.auc import JUDGED
from affect_training.learner.evaluate import evaluate
from affect_training.learner.labels import LabelledSet, read_labelled
from click.testing import CliRunner

from affect.errors import CheckpointError, MediaError, SettingsError
from affect.inference.checkpoint import heads_path, load_sidecar, sidecar_path
from affect.labels import LearnerState
from affect.plugins import PluginHost
from affect.settings import Settings

from .conftest import FACES, PEOPLE, write_faces
from .test_watch import nothing, write_video

COMMON = ["--device", "cpu", "--set", "vision.detector=middle", "--set", "inference.precision=float32"]
STATES = {"boredom", "engagement", "confusion", "frustration"}


def call(*arguments: str | Path) -> str:
    """Run `affect-train learner …` in this process."""
    result = CliRunner().invoke(learner, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_fit_then_evaluate_is_what_was_promised(toy: Path, toy_faces: Path, tmp_path: Path) -> None:
    before = load_sidecar(toy)
    call("fit", "--data", toy_faces, "--backend", "toy", *COMMON)
    after = load_sidecar(toy)
    assert after.learner is not None
    assert after.model_copy(update={"learner": None}) == before
    assert after.learner.weights_sha256 == after.weights_sha256
    assert (after.learner.faces, after.learner.people) == (PEOPLE * FACES, PEOPLE)
    assert after.learner.heads is not None
    assert after.learner.heads.file == "toy.learner.safetensors"
    assert (toy.parent / "toy.learner.safetensors").is_file()
    assert set(after.learner.figures) >= {"heads", "emission refitted", "emission of the design"}
    assert (after.learner.figures["heads"].auc[LearnerState.BOREDOM] or 0) > 0.9
    assert "/" not in json.dumps(after.learner.model_dump(mode="json")["method"]).replace("1/", "")

    out = tmp_path / "deep" / "figures.json"
    text = call("evaluate", "--data", toy_faces, "--split", "val", "--json", out, "--backend", "toy", *COMMON)
    report = json.loads(out.read_text(encoding="utf-8"))
    for key in ("auc", "auc_ci95", "auc_per_person", "auc_within_person"):
        assert set(report[key]) == STATES
    assert report["auc"]["boredom"] > 0.9
    assert report["auc_within_person"]["boredom"] > 0.9
    low, high = report["auc_ci95"]["boredom"]
    assert low <= report["auc"]["boredom"] <= high
    assert (report["backend"], report["estimator"], report["split"]) == ("toy", "fitted", "val")
    assert (report["faces"], report["people"], report["without_face"]) == (4 * FACES, 4, 0)
    assert report["fitted"]["heads"] is True
    assert "boredom" in text
    assert "pooled" in text


def test_the_fit_matters_only_to_the_estimator_that_reads_it(
    toy: Path, toy_faces: Path, toy_settings: Settings, tmp_path: Path
) -> None:
    call("fit", "--data", toy_faces, "--backend", "toy", "--no-check", *COMMON)
    data = read_labelled(toy_faces, "val")
    hmm = toy_settings.model_copy(update={"learner": toy_settings.learner.model_copy(update={"estimator": "hmm"})})
    plain = evaluate(data, hmm, PluginHost(), nothing, resamples=20)
    fitted = evaluate(data, toy_settings, PluginHost(), nothing, resamples=20)
    assert plain["estimator"] == "hmm"
    assert plain["fitted"]["heads"] is False
    assert fitted["auc"]["boredom"] > plain["auc"]["boredom"]


def test_a_backend_without_weights_needs_out(toy: Path, toy_faces: Path, tmp_path: Path) -> None:
    arguments = ["fit", "--data", str(toy_faces), "--backend", "bare", "--no-check", *COMMON]
    with pytest.raises(SettingsError, match=r"--out and set learner\.fit"):
        CliRunner().invoke(learner, arguments, catch_exceptions=False)
    out = tmp_path / "fits" / "bare.json"
    assert f'[learner] fit = "{out}"' in call(*arguments, "--out", out).replace("\n", "")
    assert out.with_name("bare.learner.safetensors").is_file()
    figures = tmp_path / "f.json"
    call(
        *("evaluate", "--data", toy_faces, "--split", "val", "--json", figures, "--backend", "bare"),
        *(*COMMON, "--set", f'learner.fit="{out}"'),
    )
    report = json.loads(figures.read_text(encoding="utf-8"))
    assert report["fitted"]["heads"] is True
    assert report["auc"]["boredom"] > 0.8  # by its probabilities: there is no embedding
    assert sidecar_path(toy).is_file()


@pytest.mark.parametrize("what", ["gone", "of other weights"])
def test_a_fit_that_is_of_no_use_is_made_again(toy: Path, toy_faces: Path, what: str) -> None:
    fit = ["fit", "--data", str(toy_faces), "--backend", "toy", "--no-check", *COMMON]
    call(*fit)
    if what == "gone":
        heads_path(toy).unlink()
    else:
        facts = json.loads(sidecar_path(toy).read_bytes())
        facts["learner"]["weights_sha256"] = "0" * 64
        sidecar_path(toy).write_text(json.dumps(facts))
    evaluate = ["evaluate", "--data", str(toy_faces), "--split", "val", "--backend", "toy", *COMMON]
    with pytest.raises(CheckpointError, match="run `affect-train learner fit`"):
        call(*evaluate)
    call(*fit)
    call(*evaluate)


def test_a_full_disk_leaves_the_fit_as_it_was(toy: Path, toy_faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = ["fit", "--data", str(toy_faces), "--backend", "toy", "--no-check", *COMMON]
    call(*fit)
    files = {path.name: path.read_bytes() for path in toy.parent.iterdir()}
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name.startswith("toy.json"):
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match="what was there before is intact"):
        call(*fit)
    assert {path.name: path.read_bytes() for path in toy.parent.iterdir()} == files


def test_people_in_a_row_remember(toy: Path, toy_faces: Path, toy_settings: Settings) -> None:
    call("fit", "--data", toy_faces, "--backend", "toy", "--no-check", *COMMON)
    data = read_labelled(toy_faces, "val")
    alone = evaluate(data, toy_settings, PluginHost(), nothing, resamples=20)
    row = evaluate(data, toy_settings, PluginHost(), nothing, sessions="person", resamples=20)
    assert row["sessions"] == "person"
    assert 0.55 < row["auc"]["boredom"] < alone["auc"]["boredom"]  # toy states have no memory


def test_clips_run_through_the_video_pipeline(toy: Path, toy_faces: Path, tmp_path: Path) -> None:
    call("fit", "--data", toy_faces, "--backend", "toy", "--no-check", *COMMON)
    folder = tmp_path / "daisee"
    (folder / "Labels").mkdir(parents=True)
    with (folder / "Labels" / "ValidationLabels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["ClipID", "Boredom", "Engagement", "Confusion", "Frustration "])
        for person in ("400018", "400022"):
            for number, (grey, level) in enumerate(((0.2, 0), (0.62, 3), (0.25, 0), (0.58, 2))):
                clip = f"{person}{number:04}"
                write_video(folder / "DataSet" / "Validation" / person / clip / f"{clip}.avi", [grey] * 8)
                table.writerow([f"{clip}.avi", level, number % 4, 0, 0])
    out = tmp_path / "clips.json"
    arguments = ["--split", "val", "--json", str(out), "--backend", "toy", "--every", "2"]
    call("evaluate", "--data", folder, *arguments, *COMMON)
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["kind"] == "clips"
    assert report["auc"]["boredom"] == 1.0
    assert report["auc_per_person"]["boredom"] == 1.0
    assert report["auc"]["confusion"] is None
    assert report["counts"]["boredom"] == {"positive": 4, "negative": 4}
    with pytest.raises(SettingsError, match="fit takes single faces"):
        CliRunner().invoke(
            learner,
            ["fit", "--data", str(folder), "--split", "val", "--backend", "toy", *COMMON],
            catch_exceptions=False,
        )


def test_the_study_scores_the_held_out_people(toy: Path, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "contrary", contrary=True)
    out = tmp_path / "study.json"
    call("study", "--data", faces, "--backend", "toy", "--json", out, *COMMON)
    heads = json.loads(out.read_text(encoding="utf-8"))["variants"]["heads"]
    assert set(heads["all"]["auc"]) == {state.value for state in JUDGED}
    assert heads["all"]["auc"]["boredom"] < 0.1  # whoever scored the fitted people would say 0.9
    spread = heads["runs"]["auc"]["boredom"]
    assert spread["least"] <= spread["mean"] <= spread["greatest"] < 0.1
    assert load_sidecar(toy).learner is None


def test_each_run_of_a_study_leaves_other_people_out(
    toy: Path, toy_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[set[str]] = []

    def watched(data: LabelledSet, seen: Any, rows: Any, *rest: Any) -> Any:
        used = {data.people[row] for row in rows}
        left.append(set(data.people) - used)
        return fit(data, seen, rows, *rest)

    fit = study._fit
    monkeypatch.setattr(study, "_fit", watched)
    call("study", "--data", toy_faces, "--backend", "toy", "--json", tmp_path / "study.json", *COMMON)
    assert len(left) == study.RUNS
    assert all(left)
    assert sum(map(len, left)) == len(set.union(*left)) == PEOPLE


def test_a_fit_of_its_own_takes_nobodys_place(toy: Path, toy_faces: Path, tmp_path: Path) -> None:
    before = toy.read_bytes(), sidecar_path(toy).read_bytes()
    arguments = ["fit", "--data", str(toy_faces), "--backend", "toy", "--no-check", *COMMON]
    for out, told in ((sidecar_path(toy), "sidecar of weights"), (tmp_path / "fit.safetensors", "a fit is a .json")):
        with pytest.raises(SettingsError, match=told):
            CliRunner().invoke(learner, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert (toy.read_bytes(), sidecar_path(toy).read_bytes()) == before


def test_what_cannot_be_fitted_is_told(toy: Path, tmp_path: Path) -> None:
    few = write_faces(tmp_path / "few", people=3)
    arguments = ["fit", "--data", str(few), "--backend", "toy", *COMMON]
    with pytest.raises(MediaError, match="3 people with usable faces cannot be divided into 5"):
        CliRunner().invoke(learner, arguments, catch_exceptions=False)
    with pytest.raises(MediaError, match="none of 48 pictures has a usable face"):
        CliRunner().invoke(learner, [*arguments, "--set", "learner.min_quality=1"], catch_exceptions=False)
    (few / "faces.tar").write_bytes(b"no tar file")
    with pytest.raises(MediaError, match=r"faces\.tar: cannot be read as a tar file"):
        CliRunner().invoke(learner, arguments, catch_exceptions=False)
