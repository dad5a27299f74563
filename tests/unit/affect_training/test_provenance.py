import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from affect_training import provenance
from affect_training.data import FaceData, Split
from affect_training.provenance import Normalisation, array_sha256, git_commit, init_sha256, package_versions


def test_normalisation_centres_and_scales(faces: FaceData) -> None:
    images = np.zeros((2, 48, 48), np.uint8)
    images[1] = 255
    measured = Normalisation.of(Split(images, np.zeros(2, np.int64), np.zeros(2, np.int64)))
    assert (measured.mean, measured.std) == (0.5, 0.5)
    out = measured(torch.from_numpy(images))
    assert (out.shape, out.dtype) == ((2, 1, 48, 48), torch.float32)
    assert out[:, 0, 0, 0].tolist() == [-1.0, 1.0]
    training = faces.split("Training")
    normed = Normalisation.of(training)(torch.from_numpy(training.images))
    assert float(normed.mean()) == pytest.approx(0, abs=1e-4)
    assert float(normed.std()) == pytest.approx(1, abs=1e-4)


def test_fixed_scales(faces: FaceData) -> None:
    images = torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)
    training = faces.split("Training")
    assert Normalisation.of(training, "unit")(images).ravel().tolist() == pytest.approx([0, 0.2, 1])
    assert Normalisation.of(training, "half")(images).ravel().tolist() == pytest.approx([-1, -0.6, 1])


def test_pixels_of_training_and_of_judging_meet() -> None:
    images = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    normalise = Normalisation(0.5, 0.25)
    assert torch.equal(normalise.scale(images.float().unsqueeze(1) / 255), normalise(images))


def test_versions_are_those_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    assert package_versions() == {"python": platform.python_version(), "numpy": np.__version__}


# What a run was given


def test_an_array_is_known_by_its_values() -> None:
    votes = np.arange(14, dtype=np.float32).reshape(2, 7)
    assert array_sha256(votes) == array_sha256(np.asfortranarray(votes))
    assert array_sha256(votes) != array_sha256(votes + 1)


def test_initial_weights_are_known_by_the_file_or_folder_they_come_from(tmp_path: Path) -> None:
    file, folder = tmp_path / "w.safetensors", tmp_path / "package"
    file.write_bytes(b"one")
    (folder / "model").mkdir(parents=True)
    (folder / "model/a.bin").write_bytes(b"a")
    of_file, of_folder = init_sha256(str(file), ()), init_sha256(f"npm:{folder}", ("npm",))
    assert of_file is not None
    assert of_folder is not None
    assert len(of_file) == len(of_folder) == 64
    file.write_bytes(b"two")
    assert init_sha256(str(file), ()) != of_file
    (folder / "model/a.bin").rename(folder / "model/b.bin")
    renamed = init_sha256(f"npm:{folder}", ("npm",))
    (folder / "model/b.bin").write_bytes(b"b")
    assert len({of_folder, renamed, init_sha256(f"npm:{folder}", ("npm",))}) == 3


def test_initial_weights_from_nowhere_have_no_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for init in ("none", "imagenet", "imagenet:a1_in1k", f"imagenet:{tmp_path / 'gone'}"):
        assert init_sha256(init, ("imagenet",)) is None


# The commit


def git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return run.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in which the module seems to lie."""
    git(tmp_path, "init", "-q")
    (tmp_path / "package").mkdir()
    module = tmp_path / "package" / "provenance.py"
    shutil.copy(provenance.__file__, module)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return tmp_path


def test_the_commit_of_the_checkout(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / "untracked").write_text("")
    assert git_commit() == head[:12]
    (checkout / "package" / "provenance.py").write_text("changed")
    assert git_commit() == head[:12] + "+"


def test_the_commit_around_an_installed_package_is_not_ours(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    shutil.copy(provenance.__file__, installed)
    monkeypatch.setattr(provenance, "__file__", str(installed / "provenance.py"))
    assert git_commit() is None


def test_no_commit_outside_git_or_without_it(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "")
        assert git_commit() is None
    monkeypatch.setattr(provenance, "__file__", str(tmp_path_factory.mktemp("elsewhere") / "provenance.py"))
    assert git_commit() is None
