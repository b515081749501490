"""Doing one thing while others watch."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

CLOSING_SECONDS = 3.0


async def watched(work: Coroutine[Any, Any, None], *watchers: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end; what a watcher raises meanwhile ends it and is raised here."""
    tasks = [asyncio.ensure_future(each) for each in (work, *watchers)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end(tasks)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel; and once more what a client that waits for its dead server still holds up."""
    for _ in range(2):
        for task in tasks:
            task.cancel()
        ended, _ = await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
        if len(ended) == len(tasks):
            break
    await asyncio.gather(*ended, return_exceptions=True)  # theirs is not the first word
