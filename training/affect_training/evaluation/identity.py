"""What ties figures to the weights they are of."""

from affect.inference.backend import Backend


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
