"""Ending tasks for certain."""

import asyncio
from typing import Any

AGAIN_SECONDS = 0.2


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when all have ended, in whatever way.

    Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py uses, loses a cancellation
    that comes at the moment when its work ends.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
