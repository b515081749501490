import asyncio

from stream.room import Room


async def test_who_does_not_fit_waits_until_room_is_given_back() -> None:
    room = Room(max_records=2, max_bytes=100)
    await room.enter(60)
    waiting = asyncio.create_task(room.enter(60))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    room.leave(60)
    await waiting
    assert (room.records, room.bytes) == (1, 60)


async def test_records_are_bounded_too() -> None:
    room = Room(max_records=2, max_bytes=100)
    await room.enter(1)
    await room.enter(1)
    waiting = asyncio.create_task(room.enter(1))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()


async def test_a_record_larger_than_the_room_enters_alone() -> None:
    room = Room(max_records=2, max_bytes=100)
    await room.enter(1_000)
    assert room.bytes == 1_000


async def test_many_callers_never_exceed_the_bounds() -> None:
    room = Room(max_records=3, max_bytes=100)
    most_records = most_bytes = 0

    async def stay(size: int) -> None:
        nonlocal most_records, most_bytes
        await room.enter(size)
        most_records = max(most_records, room.records)
        most_bytes = max(most_bytes, room.bytes)
        await asyncio.sleep(0.001)
        room.leave(size)

    await asyncio.gather(*(stay(size % 60 + 1) for size in range(200)))
    await room.empty()
    assert most_records <= 3
    assert most_bytes <= 100


async def test_who_cannot_wait_squeezes_in_and_those_who_can_wait_longer() -> None:
    room = Room(max_records=2, max_bytes=100)
    for _ in range(3):
        room.squeeze_in(1)
    assert room.is_full
    waiting = asyncio.create_task(room.enter(1))
    room.leave(1)
    await asyncio.sleep(0.01)
    assert room.is_full
    assert not waiting.done()
    room.leave(1)
    await waiting
    assert room.records == 2
