"""What was trained can be served and exported: each network through a weights file, each kind through ONNX."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affect_training.export.onnx import export_onnx
from torch import nn

from affect.inference.checkpoint import InputSpec, save_checkpoint
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend
from affect.plugins import PluginHost
from affect.registry import RecipeSpec
from affect.vision.geometry import FER2013_CROP

SMALL = {"side": 64, "hidden": [16]}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "stanford-shallow": {},
    "stanford-deep": {},
    "stanford-shallow-hog": {},
    "stanford-deep-hog": {},
    "auc-baseline": {},
    "auc-vgg16": SMALL,
    "auc-senet50": SMALL,
    "auc-resnet50": SMALL,
    "trial1": {},
    "trial2": {},
    "vgg19": {"hidden": [16]},
    "ucu-baseline": {},
}
EXPORTED = ("stanford-deep-hog", "auc-baseline", "auc-senet50", "trial2", "ucu-baseline", "vgg19")
"""One of each kind of layer; ONNX takes its time."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_weights_file_answers_as_the_network_did(name: str, recipes: dict[str, RecipeSpec], tmp_path: Path) -> None:
    recipe = recipes[name]
    arguments = {**recipe.model, **CHANGES[name]}
    module, _, kind = recipe.architecture.partition(":")
    torch.manual_seed(0)
    network: nn.Module = getattr(import_module(module), kind)(**arguments)
    faces = torch.rand(16, 1, 48, 48)
    network.train()
    with torch.no_grad():
        network(faces)  # the running statistics are no longer those of the start
    network.eval()
    weights = tmp_path / f"{name}.safetensors"
    save_checkpoint(
        weights,
        network.state_dict(),
        dtype=torch.float32,
        architecture=recipe.architecture,
        arguments=arguments,
        parameters=sum(p.numel() for p in network.parameters()),
        input=InputSpec(size=48, channels=1, mean=(0.25,), std=(0.5,), crop=FER2013_CROP),
        temperature=1.0,
    )
    backend = PluginHost().create_backend(str(weights), Device("cpu", "float32"))
    assert isinstance(backend, TorchBackend)
    with torch.inference_mode():
        torch.testing.assert_close(backend.predict((faces - 0.25) / 0.5), network((faces - 0.25) / 0.5))
    if name in EXPORTED:
        real = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
        report = export_onnx(weights, tmp_path / f"{name}.onnx", real)
        assert report.real_faces == 4
