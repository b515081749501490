import asyncio
from contextlib import suppress

from stream.cancellation import cancelled


async def stubborn(losses: int) -> None:
    """Loses so many cancellations."""
    for _ in range(losses):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    await asyncio.sleep(60)


async def fail() -> None:
    raise ValueError


async def test_a_lost_cancellation_is_repeated() -> None:
    tasks = [asyncio.create_task(stubborn(losses)) for losses in (0, 1, 3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await cancelled(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_has_ended_is_left_alone() -> None:
    failed = asyncio.create_task(fail())
    await asyncio.wait([failed])
    await cancelled(failed)
    assert isinstance(failed.exception(), ValueError)
    await cancelled()
