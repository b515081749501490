"""Waiting for a server that is away, in one way for the whole service."""

import asyncio
import random
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
