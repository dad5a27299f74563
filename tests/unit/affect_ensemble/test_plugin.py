import subprocess
import sys
from pathlib import Path

import pytest
from affect_ensemble import plugin
from affect_ensemble.backend import EnsembleBackend

from affect.errors import PluginError, SettingsError
from affect.inference.device import Device
from affect.plugins import PluginHost

from .conftest import MakeHost, Write


def test_it_provides_a_backend(ensemble_host: MakeHost) -> None:
    assert ensemble_host().plugins[0].provides == {"backends": ["ensemble"]}


def test_listing_it_loads_no_torch() -> None:
    code = "import sys, affect_ensemble.plugin as p; p.EnsembleSettings(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_members_it_says_how_to_configure_it(
    ensemble_host: MakeHost, cpu: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plugin, "SHIPPED", tmp_path / "none.json")
    with pytest.raises(SettingsError, match=r"no members; .*plugins\.ensemble\.members = .*`affect-train ensemble`"):
        ensemble_host().create_backend("ensemble", cpu)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"members": ["a"], "manifest": "x.json"}, "members and manifest are both set"),
        ({"members": ["a", "b"], "weights": [1.0]}, "weights has 1 numbers for 2 members"),
        ({"members": ["a", "b"], "weights": [1.0, -1.0]}, "not negative"),
        ({"members": ["a", "b"], "weights": [0.0, 0.0]}, "not all zero"),
        ({"members": ["a"], "weights": [1.0], "vote": "soft"}, "weights are for vote = weighted, not soft"),
        ({"members": ["a"], "vote": "loud"}, "vote"),
        ({"members": ["a"], "max_members": 0}, "max_members"),
        ({"members": ["a"], "budget_ms": 0}, "budget_ms"),
        ({"member": ["a"]}, "member"),
    ],
)
def test_wrong_settings_are_named(ensemble_host: MakeHost, cpu: Device, table: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        ensemble_host(**table).create_backend("ensemble", cpu)


def test_a_member_that_nobody_registered_is_named(ensemble_host: MakeHost, cpu: Device) -> None:
    with pytest.raises(PluginError, match="no backend 'gray'; did you mean 'grey'"):
        ensemble_host(members=["grey", "gray"]).create_backend("ensemble", cpu)


def test_an_ensemble_cannot_contain_itself(ensemble_host: MakeHost, cpu: Device) -> None:
    with pytest.raises(PluginError, match="backends contain each other: ensemble -> ensemble"):
        ensemble_host(members=["ensemble"]).create_backend("ensemble", cpu)


def test_members_beyond_the_number_allowed_are_not_even_loaded(
    ensemble_host: MakeHost, cpu: Device, write: Write
) -> None:
    first = str(write("a"))
    backend = ensemble_host(members=[first, "no-such-backend"], max_members=1).create_backend("ensemble", cpu)
    assert isinstance(backend, EnsembleBackend)
    assert backend.taking_part == (first,)


def test_it_is_an_installed_plugin() -> None:
    assert "ensemble" in PluginHost().backends
