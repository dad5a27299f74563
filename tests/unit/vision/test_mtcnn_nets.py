from pathlib import Path

import pytest
import torch
from torch import nn

from affect.errors import BackendError, ErrorCode
from affect.vision import mtcnn_nets
from affect.vision.mtcnn_nets import ONet, PNet, RNet, load_nets, weights_folder

CPU = torch.device("cpu")


@pytest.mark.parametrize(("net", "parameters"), [(PNet(), 6_632), (RNet(), 100_178), (ONet(), 389_040)])
def test_the_nets_have_the_published_size(net: nn.Module, parameters: int) -> None:
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_shapes_are_those_of_the_docstrings() -> None:
    pnet, rnet, onet = load_nets(CPU)
    with torch.inference_mode():
        assert [tuple(x.shape) for x in pnet(torch.zeros(2, 3, 12, 12))] == [(2, 1, 1), (2, 4, 1, 1)]
        assert [tuple(x.shape) for x in pnet(torch.zeros(1, 3, 32, 52))] == [(1, 11, 21), (1, 4, 11, 21)]
        assert [tuple(x.shape) for x in rnet(torch.zeros(2, 3, 24, 24))] == [(2,), (2, 4)]
        assert [tuple(x.shape) for x in onet(torch.zeros(2, 3, 48, 48))] == [(2,), (2, 4), (2, 10)]


def test_probabilities_are_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for net, side in zip(load_nets(CPU), (12, 24, 48), strict=True):
            probability = net(torch.randn(8, 3, side, side, generator=generator))[0]
            assert ((probability >= 0) & (probability <= 1)).all()


def test_loaded_nets_are_ready_to_serve() -> None:
    for net in load_nets(CPU):
        assert not net.training
        assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_weights_that_are_not_the_published_ones_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    expected = "0" * 64
    monkeypatch.setitem(mtcnn_nets.SHA256, name, expected)
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, *_: loaded.append(type(self).__name__))
    with pytest.raises(BackendError) as caught:
        load_nets(CPU)
    assert caught.value.code is ErrorCode.BAD_CHECKPOINT
    assert f"{name}.pt" in caught.value.message
    assert expected in caught.value.message
    assert {"pnet": "PNet", "rnet": "RNet", "onet": "ONet"}[name] not in loaded


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pnet", "rnet", "onet"):
        (tmp_path / f"{name}.pt").write_bytes((weights_folder() / f"{name}.pt").read_bytes())
    with (tmp_path / "rnet.pt").open("ab") as file:
        file.write(b"\0")
    monkeypatch.setattr(mtcnn_nets, "weights_folder", lambda: tmp_path)
    with pytest.raises(BackendError, match=r"rnet\.pt: sha256 is"):
        load_nets(CPU)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtcnn_nets, "weights_folder", lambda: tmp_path)
    with pytest.raises(BackendError, match=r"pnet\.pt: No such file") as caught:
        load_nets(CPU)
    assert caught.value.code is ErrorCode.BACKEND_UNAVAILABLE


def test_without_the_wheel_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtcnn_nets, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"pip install it, or set vision\.detector to haar or yunet"):
        weights_folder()
