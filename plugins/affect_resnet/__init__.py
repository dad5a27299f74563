"""Bundled backend `resnet`: residual networks that knew faces or pictures before they saw FER2013."""
