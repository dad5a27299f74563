"""How long a test waits for another process: only ever waited for when something hangs."""

LIMIT_S = 400.0
"""Seconds. A process that imports torch has taken two minutes beside other work on two cores."""
