from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from affect_resnet.dlib_resnet import DlibResNet
from affect_resnet.imagenet_resnet import ImageNetResNet, initialise
from safetensors.torch import save_file

from affect.errors import CheckpointError, SettingsError


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    state: dict[str, torch.Tensor] = torchvision.models.resnet18(weights=None).state_dict()
    return state


def assert_loaded(model: ImageNetResNet, published: dict[str, torch.Tensor]) -> None:
    own = model.body.state_dict()
    assert set(own) == {name for name in published if not name.startswith("fc.")}
    assert all(torch.equal(tensor, published[name]) for name, tensor in own.items())


def test_weights_are_downloaded_where_that_works(
    published: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(url: str, **_: object) -> dict[str, torch.Tensor]:
        asked.append(url)
        return published

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    model = ImageNetResNet()
    initialise(model, "")
    assert "resnet18" in asked[0]
    assert_loaded(model, published)


def test_without_network_it_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **_: object) -> dict[str, torch.Tensor]:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with torch.device("meta"):
        model = ImageNetResNet("resnet50")
    with pytest.raises(SettingsError, match=r"no route to host.*resnet50.*\.pth.*--init imagenet:FILE"):
        initialise(model, "")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_file(published: dict[str, torch.Tensor], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(published, path)
    else:
        save_file(published, path)
    model = ImageNetResNet()
    initialise(model, str(path))
    assert_loaded(model, published)


def test_weights_of_the_other_network_are_refused(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    kept = {name: tensor for name, tensor in published.items() if not name.startswith("layer4.")}
    save_file(kept, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="do not fit resnet18"):
        initialise(ImageNetResNet(), str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        initialise(ImageNetResNet(), str(path))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not a table of tensors"):
        initialise(ImageNetResNet(), str(tmp_path / "w.pth"))


def test_a_missing_file_and_another_network_are_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.pth: no such file"):
        initialise(ImageNetResNet(), "nowhere.pth")
    with pytest.raises(SettingsError, match="resnet18 and resnet50, not DlibResNet"):
        initialise(DlibResNet(), "")


@pytest.mark.parametrize(("variant", "width"), [("resnet18", 512), ("resnet50", 2048)])
def test_features_feed_the_head(variant: str, width: int) -> None:
    model = ImageNetResNet(variant, side=64, hidden=(32, 16), heads=2).eval()  # type: ignore[arg-type]
    faces = torch.rand(2, 1, 48, 48)
    with torch.inference_mode():
        features = model.features(faces)
        assert features.shape == (2, width)
        assert torch.equal(model(faces), model.head(features))
    assert model.train()(faces).shape == (2, 2, 7)


def test_faces_are_enlarged_and_normalised_as_imagenet_is() -> None:
    model = ImageNetResNet(side=64).eval()
    seen: list[torch.Tensor] = []
    model.body.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.full((1, 1, 48, 48), 0.485))
    assert seen[0].shape == (1, 3, 64, 64)
    assert seen[0][0, :, 5, 5].tolist() == pytest.approx([0.0, 0.029 / 0.224, 0.079 / 0.225], abs=1e-6)


def test_another_variant_is_refused() -> None:
    with pytest.raises(SettingsError, match="resnet18 or resnet50, not 'resnet34'"):
        ImageNetResNet("resnet34")  # type: ignore[arg-type]
