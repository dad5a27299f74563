"""What several unit tests share: a real picture, an exact device, a host without entry points."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from affect import builtin
from affect.inference.device import Device
from affect.plugins import PluginHost
from affect.settings import PluginSettings
from affect.types import ByteArray

MakeHost = Callable[..., PluginHost]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are quicker in one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def astronaut() -> ByteArray:
    """512x512 RGB; one face, about x 178-268, y 58-174."""
    image = np.array(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    image.setflags(write=False)
    return image


@pytest.fixture
def cpu() -> Device:
    return Device("cpu", "float32")


@pytest.fixture
def make_host() -> MakeHost:
    """Make a host that has loaded only `affect.builtin`; the argument is the table `[plugins]`."""

    def make(table: Mapping[str, Any] | None = None) -> PluginHost:
        host = PluginHost(PluginSettings.model_validate(dict(table or {})), entry_points=[], strict=True)
        host.register(builtin, "builtin", "tutor-affect", "1")
        return host

    return make
