"""How often somebody may do something."""

import time


class TokenBucket:
    """Fills at `rate` a second up to `burst`, full at first."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._credit, self._at = burst, time.monotonic()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = time.monotonic()
        self._credit = min(self._burst, self._credit + (now - self._at) * self._rate)
        self._at = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
