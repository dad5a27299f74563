"""Bundled backend `ensemble`: several backends vote on each face."""
