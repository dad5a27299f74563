"""Async Python client of the affect service."""
