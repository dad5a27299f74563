"""Async Python client of the affect service."""

from affect_client.client import AffectClient

__all__ = ["AffectClient"]
