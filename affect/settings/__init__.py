"""All constants of the product, by subject, with their provenance; see `affect doctor` for the effective ones."""

from affect.settings.learner import LearnerSettings
from affect.settings.root import InferenceSettings, PluginSettings, Settings
from affect.settings.service import ServiceSettings
from affect.settings.vision import VisionSettings

__all__ = [
    "InferenceSettings",
    "LearnerSettings",
    "PluginSettings",
    "ServiceSettings",
    "Settings",
    "VisionSettings",
]
