import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training.cli.main import cli
from click.testing import CliRunner, Result
from support.tiny import install_tiny, tiny_faces, tiny_split, write_fer2013

from affect.errors import AffectError, CheckpointError, MediaError, PluginError, SettingsError
from affect.inference import device as device_module


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs in a folder with the data; the tiny recipes are installed."""
    install_tiny(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AFFECT_FER2013", raising=False)
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["run", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def train(*arguments: str) -> str:
    return call("tiny", "--data", "fer2013.csv", "--device", "cpu", *arguments).stdout


def facts(folder: str = "runs/tiny-seed5") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "run.json").read_text("utf-8"))
    return found


def test_a_recipe_is_trained_in_a_folder_of_its_name_and_seed() -> None:
    lines = train().splitlines()
    assert lines[0].startswith("tiny in runs/tiny-seed5 on cpu")
    assert lines[0].endswith("from the start")
    assert [line[:11] for line in lines[1:4]] == ["epoch   1  ", "epoch   2  ", "epoch   3  "]
    assert lines[4].startswith("best PublicTest accuracy ")
    assert facts()["faces"] == {"Training": 64, "PublicTest": 21}
    assert len(facts()["data_sha256"]) == 64
    assert len(list(Path("runs/cache").glob("*.npz"))) == 1


def test_the_data_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECT_FER2013", "fer2013.csv")
    call("tiny", "--device", "cpu", "--set", "epochs=1")
    assert facts()["config"]["train"]["epochs"] == 1


def test_settings_come_from_the_run_file_and_then_from_the_command() -> None:
    Path("run.toml").write_text('recipe = "tiny"\n[train]\nepochs = 1\nlr = 0.5\n[model]\ndropout = 0.1\n')
    train("--run-file", "run.toml", "--set", "lr=.02", "--set", "model.width=2", "--out", "here")
    config = facts("here")["config"]
    assert (config["train"]["epochs"], config["train"]["lr"], config["train"]["seed"]) == (1, 0.02, 5)
    assert config["model"] == {"dropout": 0.1, "width": 2}


def test_a_finished_run_has_nothing_to_do() -> None:
    train("--set", "epochs=1")
    again = train("--set", "epochs=1", "--resume").splitlines()
    assert again[0].endswith("resumed")
    assert len(again) == 2
    assert again[1].endswith("in epoch 1 of 1")


def test_fresh_starts_anew() -> None:
    train("--set", "epochs=1")
    with pytest.raises(SettingsError, match="belongs to a run with other settings"):
        train("--set", "epochs=2")
    assert "from the start" in train("--set", "epochs=2", "--fresh")
    assert facts()["config"]["train"]["epochs"] == 2


def test_resume_wants_a_checkpoint() -> None:
    with pytest.raises(SettingsError, match="--resume: runs/tiny-seed5 has no checkpoint to go on from"):
        train("--resume")
    assert not Path("runs/tiny-seed5").exists()


def test_a_run_goes_back_to_an_epoch_that_was_kept() -> None:
    whole = train("--keep", "2").splitlines()
    assert [path.name for path in Path("runs/tiny-seed5/epochs").iterdir()] == ["2"]
    back = train("--from-epoch", "2").splitlines()
    assert back[0].endswith("back at epoch 2")
    assert back[1].split("  PublicTest")[0] == whole[3].split("  PublicTest")[0]
    assert back[-1] == whole[-1]
    with pytest.raises(SettingsError, match="epoch 1 was not kept; kept are: 2"):
        train("--from-epoch", "1")
    with pytest.raises(SettingsError, match="--from-epoch and --fresh contradict each other"):
        train("--from-epoch", "2", "--fresh")


def test_a_corrupt_checkpoint_is_refused_by_name() -> None:
    train("--set", "epochs=1")
    checkpoint = Path("runs/tiny-seed5/last.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"tiny-seed5/last\.ckpt: corrupt"):
        train("--set", "epochs=1")


def test_a_dry_run_prints_the_settings_and_does_nothing() -> None:
    result = call("tiny", "--dry-run", "--set", "lr=0.5", "--set", "augment.mirror=true")
    found = json.loads(result.stdout)
    assert result.stderr == "would train in runs/tiny-seed5:\n"
    assert (found["recipe"], found["init"], found["model"]) == ("tiny", "none", {"width": 4, "dropout": 0.3})
    assert (found["train"]["lr"], found["train"]["epochs"], found["augment"]["mirror"]) == (0.5, 3, True)
    assert not Path("runs").exists()


def test_what_a_dry_run_prints_is_a_run_file(tmp_path: Path) -> None:
    planned = call("tiny", "--dry-run", "--set", "seed=9", "--set", "model.width=2").stdout
    Path("planned.json").write_text(planned)
    assert call("tiny", "--run-file", "planned.json", "--dry-run").stdout == planned
    train("--run-file", "planned.json", "--set", "epochs=1")
    assert (facts("runs/tiny-seed9")["config"]["model"]["width"]) == 2


def test_the_record_of_a_run_is_a_run_file() -> None:
    train("--set", "epochs=1", "--set", "lr=.25")
    train("--run-file", "runs/tiny-seed5/run.json", "--out", "again")
    assert facts("again")["config"] == facts()["config"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--set", "model.nonsense=1"], "nonsense"), (["--init", "imagenet"], "recipe 'tiny' knows none")],
)
def test_a_dry_run_refuses_what_a_run_would_refuse(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        call("tiny", "--dry-run", *arguments)


def test_other_faces_than_training_are_told_at_the_start() -> None:
    leaky = tiny_faces()
    leaky.split("PublicTest").images[0] = leaky.split("Training").images[3]
    write_fer2013(Path("fer2013.csv"), leaky)
    lines = train("--set", "epochs=1", "--set", "data.drop_leaks=true").splitlines()
    assert lines[1] == "63 faces to train on: Training 64, leaks -1"
    assert facts()["made_of"] == {"Training": 64, "leaks": -1}
    assert len(train("--set", "epochs=1", "--set", "data.drop_leaks=true").splitlines()) == 2  # finished


def test_a_finished_run_refuses_other_data() -> None:
    train("--set", "epochs=1")
    other = tiny_faces()
    other.split("Training").images[0] += 1
    write_fer2013(Path("fer2013.csv"), other)
    with pytest.raises(SettingsError, match="begun with 64 faces of data with sha256"):
        train("--set", "epochs=1")


def test_precision_is_a_setting() -> None:
    assert train("--set", "precision=float32", "--set", "epochs=1").splitlines()[0].endswith("float32, from the start")
    assert facts()["device"].endswith("float32")
    again = train("--set", "precision=bfloat16", "--set", "epochs=1", "--out", "other").splitlines()
    assert again[0].endswith("bfloat16, from the start")


def test_another_machine_is_told_when_a_run_goes_on() -> None:
    train("--keep", "2")
    path = Path("runs/tiny-seed5/run.json")
    path.write_text(json.dumps({**facts(), "device": "cuda:0 (H100), bfloat16"}))
    assert "so far on" not in train()  # finished
    assert train("--from-epoch", "2").splitlines()[1].startswith("so far on cuda:0 (H100), bfloat16: the rest")


def test_a_folder_with_files_of_others_is_left_alone() -> None:
    theirs = Path("mine/epochs/2020/data.txt")
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    with pytest.raises(SettingsError, match=r"mine has epochs, but no run\.json: not of a run; choose another --out"):
        train("--set", "epochs=1", "--out", "mine")
    with pytest.raises(SettingsError, match="not of a run"):
        train("--set", "epochs=1", "--out", "mine", "--fresh")
    assert [path for path in Path("mine").rglob("*") if path.is_file()] == [theirs]


def test_a_run_that_lost_its_last_checkpoint_is_not_thrown_away() -> None:
    train("--keep", "2")
    Path("runs/tiny-seed5/last.ckpt").unlink()
    with pytest.raises(SettingsError, match=r"last\.ckpt is lost, while epochs are kept: 2; go on from one"):
        train()
    assert "back at epoch 2" in train("--from-epoch", "2", "--resume")
    train("--keep", "3", "--out", "ended")
    Path("ended/last.ckpt").unlink()
    assert "back at epoch 3" in train("--from-epoch", "3", "--out", "ended")
    assert train("--out", "ended").splitlines()[0].endswith("resumed")
    train("--out", "plain")
    Path("plain/last.ckpt").unlink()
    with pytest.raises(SettingsError, match=r"best\.ckpt of 3 epochs is there, which `export` takes"):
        train("--out", "plain")
    exported = ["export", "plain", "-o", "plain.safetensors", "--data", "fer2013.csv", "--device", "cpu"]
    assert CliRunner().invoke(cli, exported, catch_exceptions=False).exit_code == 0
    assert "from the start" in train("--out", "plain", "--fresh")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a key `recipe"),
        ('{"recipe": "tiny", "init": null}', "init is a word, not None"),
        ('{"recipe": "tiny", "parts": []}', "parts is a table"),
        ('{"recipe": 3}', "recipe is a name, not 3"),
        ("{", "Expecting"),
    ],
)
def test_a_run_file_of_another_shape_is_refused(text: str, message: str) -> None:
    Path("run.json").write_text(text)
    with pytest.raises(SettingsError, match=message):
        call("tiny", "--run-file", "run.json", "--dry-run")


def test_a_file_that_a_run_started_from_need_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("affect_training.network.check_init", lambda spec, init: asked.append(init))
    train("--set", "epochs=1")
    assert set(asked) == {"none"}
    asked.clear()
    train("--set", "epochs=1")
    assert asked == []


def test_what_is_frozen_is_looked_for_before_anything_else() -> None:
    with pytest.raises(SettingsError, match="no parameter is called or lies below 'nothing'"):
        call("tiny", "--dry-run", "--set", 'freeze=["nothing"]')


def test_auxiliary_faces_come_from_their_folder(tmp_path: Path) -> None:
    import cv2

    split = tiny_split(7, 3)
    for image, label in zip(split.images, split.labels, strict=True):
        folder = Path("sets/more") / ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")[label]
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "0.png"), np.asarray(image))
    with pytest.raises(SettingsError, match="--aux FOLDER"):
        train("--set", 'data.aux=["more"]')
    with pytest.raises(MediaError, match="expected an auxiliary set 'less', got more"):
        train("--set", 'data.aux=["less"]', "--aux", "sets")
    train("--set", 'data.aux=["more"]', "--aux", "sets", "--set", "epochs=1")
    assert facts()["faces_trained_on"] == 71


def test_initial_weights_from_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from support.tiny import TinyHeads

    source = TinyHeads()
    torch.nn.init.constant_(source.head.bias, 3.0)
    save_file(source.state_dict(), "w.safetensors")
    small = ("--set", "lr=1e-9", "--set", "epochs=1", "--out", "out")
    call("tiny-heads", "--data", "fer2013.csv", "--device", "cpu", "--init", "w.safetensors", *small)
    trained = torch.load("out/best.ckpt", weights_only=True)["network"]
    assert trained["head.bias"].tolist() == pytest.approx([3.0] * 7)
    assert facts("out")["config"]["init"] == "w.safetensors"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["tinny"], PluginError, r"no recipe 'tinny'; did you mean 'tiny'"),
        (["tiny"], SettingsError, r"name the data: --data fer2013\.csv, or set AFFECT_FER2013"),
        (["tiny", "--data", "no.csv"], SettingsError, r"--data no\.csv: no such file or folder"),
        (["tiny", "--set", "lr"], SettingsError, r"--set wants KEY=VALUE, got 'lr'"),
        (["tiny", "--set", "learning_rate=1"], SettingsError, r"train\.learning_rate: Extra inputs"),
        (["tiny", "--set", "optim.lr=1"], SettingsError, r"--set optim\.lr: keys are TABLE\.NAME"),
        (["tiny", "--set", "lr=fast"], SettingsError, r"train\.lr: .*number"),
        (["tiny", "--set", "lr=-1"], SettingsError, r"train\.lr: .*greater than 0"),
        (["tiny", "--set", "model.colour=1", "--data", "fer2013.csv"], SettingsError, r"model of .*colour"),
        (["tiny", "--resume", "--fresh"], SettingsError, "--resume and --fresh contradict each other"),
        (["tiny", "--run-file", "other.toml"], SettingsError, r"other\.toml is a run of 'vgg', not of 'tiny'"),
        (["tiny", "--data", "fer2013.csv", "--init", "imagenet"], SettingsError, "recipe 'tiny' knows none, FILE"),
        (["tiny", "--data", "fer2013.csv", "--init", "no.safetensors"], CheckpointError, r"--init no\.safetensors: "),
        (["tiny", "--data", "fer2013.csv", "--init", "other.safetensors"], CheckpointError, "pickles are never loaded"),
        (["tiny", "--data", "fer2013.csv", "--device", "tpu"], SettingsError, "device is auto, cpu or cuda:N"),
        (["tiny", "--data", "fer2013.csv", "--set", "votes_weight=.5"], SettingsError, r"data\.votes = true"),
        (["tiny", "--data", "fer2013.csv", "--set", "freeze=['con']"], SettingsError, r"train\.freeze: .*'con'"),
        (["tiny", "--data", "fer2013.csv", "--set", "teacher=['nobody']"], PluginError, "no backend 'nobody'"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(arguments: list[str], error: type[AffectError], message: str) -> None:
    Path("other.toml").write_text('recipe = "vgg"\n')
    torch.save({"w": torch.zeros(2)}, "other.safetensors")
    with pytest.raises(error, match=message):
        call(*arguments)
    assert not list(Path("runs").glob("tiny*/*.ckpt"))


@pytest.mark.parametrize(
    "arguments", [["--devices", "0"], ["--nodes", "-1"], ["--aux", "nowhere"], ["--run-file", "no"]]
)
def test_options_outside_their_range_are_usage_errors(arguments: list[str]) -> None:
    assert arguments[0] in call("tiny", *arguments, code=2).output


@pytest.mark.parametrize("several", [("--devices", "2"), ("--nodes", "2")])
def test_several_processes_do_not_share_one_gpu(several: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match="--device cuda:1 is one device"):
        CliRunner().invoke(
            cli,
            ["run", "tiny", "--data", "fer2013.csv", "--device", "cuda:1", *several],
            catch_exceptions=False,
            standalone_mode=False,
        )


@pytest.mark.parametrize(("device", "there"), [("auto", 2), ("cuda", 2), ("auto", 1)])
def test_a_process_of_several_never_takes_the_cpu_for_its_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, there: int
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(device_module, "why_unusable", {"cuda:1": "out of memory"}.__getitem__)  # asks of no other
    with pytest.raises(SettingsError, match=r"'cuda:1'( cannot be used: out of memory|: this machine has 1 CUDA)"):
        CliRunner().invoke(
            cli,
            ["run", "tiny", "--data", "fer2013.csv", "--device", device, "--devices", "2"],
            catch_exceptions=False,
            standalone_mode=False,
        )


def test_a_run_alone_under_a_launcher_tells_how_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    said = call("tiny", "--data", "fer2013.csv", "--device", "cpu", "--set", "epochs=1").output
    assert "epoch   1" in said
    assert "best PublicTest accuracy" in said
