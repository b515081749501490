import asyncio
from dataclasses import dataclass
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st

from stream.batcher import Batcher

LONG_LINGER_SECONDS = 30.0


@dataclass(frozen=True)
class Record:
    tokens: int


def batcher(linger_seconds: float = 0.0) -> Batcher[Record]:
    return Batcher(max_tokens=100, max_records=5, linger_seconds=linger_seconds)


@given(st.lists(st.integers(1, 250), min_size=1, max_size=40))
def test_keeps_the_order_and_the_budget(sizes: list[int]) -> None:
    async def all_batches() -> list[list[int]]:
        gathered = batcher()
        for size in sizes:
            gathered.add(Record(size))
        batches = []
        while len(gathered):
            batches.append([record.tokens for record in await gathered.next_batch()])
        return batches

    batches = asyncio.run(all_batches())
    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        assert len(batch) <= 5
        # One record over the budget goes alone.
        assert sum(batch) <= 100 or len(batch) == 1


async def test_a_full_batch_does_not_wait_for_the_linger() -> None:
    gathered = batcher(LONG_LINGER_SECONDS)
    for _ in range(5):
        gathered.add(Record(1))
    started = monotonic()
    assert len(await gathered.next_batch()) == 5
    assert monotonic() - started < LONG_LINGER_SECONDS / 2


async def test_a_batch_that_fills_while_it_lingers_closes() -> None:
    gathered = batcher(LONG_LINGER_SECONDS)
    gathered.add(Record(1))
    waiting = asyncio.create_task(gathered.next_batch())
    await asyncio.sleep(0.01)
    gathered.add(Record(99))
    async with asyncio.timeout(LONG_LINGER_SECONDS / 2):
        assert len(await waiting) == 2


async def test_a_lone_record_leaves_after_the_linger() -> None:
    gathered = batcher(0.05)
    gathered.add(Record(1))
    started = monotonic()
    assert await gathered.next_batch() == [Record(1)]
    assert monotonic() - started >= 0.04


async def test_waits_for_a_first_record() -> None:
    gathered = batcher()
    waiting = asyncio.create_task(gathered.next_batch())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    gathered.add(Record(7))
    assert await waiting == [Record(7)]
