from types import SimpleNamespace

import pytest
import torch
from torch import nn

from affect.errors import ErrorCode, SettingsError
from affect.inference import device as module
from affect.inference.device import Device, Precision, cpu_features, resolve_device


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module, "why_unusable", lambda _: "")


@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_auto_is_the_cpu(name: str) -> None:
    assert resolve_device(name) == "cpu"
    assert not Device(name).is_cuda


@pytest.mark.usefixtures("_two_gpus")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_with_gpus_auto_is_the_first(name: str, expected: str) -> None:
    assert resolve_device(name) == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "CPU", "mps", "", "cuda0", "cpu:0"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="auto, cpu or cuda:N") as caught:
        resolve_device(name)
    assert repr(name) in caught.value.message
    assert caught.value.code is ErrorCode.BAD_SETTING


@pytest.mark.usefixtures("_two_gpus")
def test_a_gpu_that_is_not_there_is_refused_with_the_count() -> None:
    with pytest.raises(SettingsError, match=r"'cuda:2': this machine has 2 CUDA device"):
        resolve_device("cuda:2")


def test_a_gpu_that_cannot_be_used_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too old for this torch, say: here there is none at all, and computing on it fails indeed."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and it works")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == "cpu"
    assert "cuda:0 cannot be used" in caplog.text
    with pytest.raises(SettingsError, match="device 'cuda' cannot be used: "):
        resolve_device("cuda")


def test_a_driver_that_is_too_old_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver counts its devices, and torch can use none of them."""
    old = "The NVIDIA driver on your system is too old (found version 11040)."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(module, "why_unusable", lambda name: old if name == "cuda:0" else "")
    assert resolve_device("auto") == "cpu"
    assert f"cuda:0 cannot be used ({old})" in caplog.text
    with pytest.raises(SettingsError, match=r"device 'cuda' cannot be used: The NVIDIA driver .* too old"):
        resolve_device("cuda")


@pytest.mark.usefixtures("_two_gpus")
def test_precision_is_that_of_the_gpu_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def properties(device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(major={0: 8, 1: 7}[device.index])

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.version, "hip", None)
    assert (Device("cuda:0").precision, Device("cuda:1").precision) == ("bfloat16", "float32")


@pytest.mark.usefixtures("_no_gpu")
def test_a_gpu_on_a_machine_without_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"'cuda': this machine has 0 CUDA device"):
        Device("cuda")


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), "float32"),
        (("avx2", "avx512"), "float32"),
        (("avx512_bf16",), "bfloat16"),
        (("amx_tile",), "bfloat16"),
    ],
)
def test_precision_follows_the_cpu(there: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_features", lambda: {name: name in there for name in cpu_features()})
    assert Device("cpu").precision == expected
    assert Device("cpu", "float32").precision == "float32"
    assert Device("cpu", "bfloat16").precision == "bfloat16"


def test_features_are_named_and_yes_or_no() -> None:
    features = cpu_features()
    assert set(features) == {"avx512_bf16", "amx_tile", "avx512", "avx2"}
    assert all(isinstance(there, bool) for there in features.values())


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_runs_matrix_work_in_the_precision(precision: Precision, dtype: torch.dtype) -> None:
    with torch.inference_mode(), Device("cpu", precision).autocast():
        assert nn.Linear(4, 4)(torch.zeros(1, 4)).dtype == dtype


def test_layout_is_channels_last_and_changes_no_value() -> None:
    images = torch.rand(2, 3, 8, 8)
    moved = Device("cpu").layout(images)
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved, images)


def test_place_on_the_cpu() -> None:
    device = Device("cpu")
    conv = device.place(nn.Conv2d(3, 4, 3))
    assert next(conv.parameters()).is_contiguous(memory_format=torch.channels_last)


def test_description_names_device_and_precision() -> None:
    text = Device("cpu", "float32").description
    assert text.startswith("cpu (")
    assert text.endswith(", float32")
    assert f"{torch.get_num_threads()} threads" in text


def test_rounded_weights_give_the_same_answers() -> None:
    device = Device("cpu", "bfloat16")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 7))
    device.place(model).eval().requires_grad_(requires_grad=False)
    rounded = device.rounded(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {name: p.dtype for name, p in rounded.named_parameters()}["0.weight"] == torch.bfloat16
    assert {name: p.dtype for name, p in rounded.named_parameters()}["1.weight"] == torch.float32
    faces = torch.rand(4, 1, 8, 8)
    with torch.inference_mode(), device.autocast():
        assert torch.equal(rounded(faces), model(faces))
    assert Device("cpu", "float32").rounded(model) is model
