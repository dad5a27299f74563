"""tutor-affect: the affect module for tutoring systems.

The three doors: `affect serve` (websocket), `AffectModule` (embedded), `affect analyze` (files). Importing this
package loads neither torch nor cv2 nor websockets; the names below load what they need when first used.
"""

from typing import TYPE_CHECKING, Any

from affect.hookspecs import hookimpl
from affect.version import __version__

if TYPE_CHECKING:
    from affect.analysis import analyze_video
    from affect.module import AffectModule, SyncAffectModule
    from affect.pictures import analyze_image, load_backend
    from affect.settings import Settings
    from affect.settings.load import load_settings

_LAZY = {
    "AffectModule": "affect.module",
    "SyncAffectModule": "affect.module",
    "Settings": "affect.settings",
    "analyze_image": "affect.pictures",
    "analyze_video": "affect.analysis",
    "load_backend": "affect.pictures",
    "load_settings": "affect.settings.load",
}

__all__ = [
    "AffectModule",
    "Settings",
    "SyncAffectModule",
    "__version__",
    "analyze_image",
    "analyze_video",
    "hookimpl",
    "load_backend",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'affect' has no attribute {name!r}")
