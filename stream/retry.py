"""Waiting for a server that is away, in one way for the whole service."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0


async def pauses(longest_seconds: float = LONGEST_PAUSE_SECONDS) -> AsyncIterator[int]:
    """Yield 0, 1, 2, … for ever: at once, then after pauses that double up to the longest.

    Each pause is jittered between half and the whole, so that workers do not knock together.
    """
    pause = FIRST_PAUSE_SECONDS
    attempt = 0
    while True:
        yield attempt
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, longest_seconds)
        attempt += 1


class Patience:
    """When to try again what failed: after pauses that double, but at once for something else."""

    def __init__(self, first_seconds: float = 10.0, longest_seconds: float = 600.0) -> None:
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._failed = ""
        self._pause = 0.0
        self._due_at = 0.0

    def is_due(self, what: str) -> bool:
        """Whether to try it now."""
        return what != self._failed or time.monotonic() >= self._due_at

    def failed(self, what: str) -> bool:
        """It failed now; whether for the first time since something else did."""
        is_new = what != self._failed
        self._pause = self._first_seconds if is_new else min(2 * self._pause, self._longest_seconds)
        self._failed = what
        self._due_at = time.monotonic() + self._pause
        return is_new
