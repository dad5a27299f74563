"""Which weights answer: what a name stands for as it is configured, and what ties figures to their weights."""

from pathlib import Path

from affect.fits import effective_weights
from affect.inference.backend import Backend
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.root import InferenceSettings, weights_path


def identity_of(backend: Backend) -> dict[str, str | None]:
    """Return what tells a backend from others, for a file of its figures.

    Returns:
        `weights_sha256` of its weights file, and where there is no single one, `fingerprint`, if the backend has that;
        None where there is none.
    """
    sha256 = getattr(getattr(backend, "sidecar", None), "weights_sha256", None)
    return {
        "weights_sha256": sha256,
        "fingerprint": None if sha256 is not None else getattr(backend, "fingerprint", None),
    }


def weights_in_force(name: str, host: PluginHost) -> Path | None:
    """Return the weights file that a backend runs with: `[plugins.NAME] weights` where that is set, or its own.

    Args:
        name: Of the backend, or the path of a weights file.
        host: The plugins with their settings.

    Returns:
        None when it has none of its own.

    Raises:
        PluginError: No such backend.
        SettingsError: Its settings are wrong.
    """
    if weights_path(name) is None:
        host.backends.get(name)
    return effective_weights(Settings(inference=InferenceSettings(backend=name)), host)
