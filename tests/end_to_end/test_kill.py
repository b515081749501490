"""Processes and servers die while 6,000 records pass: nothing is lost, nothing seen twice."""

import asyncio
from collections import Counter
from pathlib import Path

from ops.servers.guard import Guard
from stream.settings import Settings
from tests.end_to_end.corpus import BROKEN, needs_data
from tests.end_to_end.faults import (
    BROKEN_COPIES,
    TOPICS,
    Own,
    block_writes,
    nothing_lost_nothing_twice,
    raised,
    records,
    restarted,
    wait_for_documents,
)
from tests.end_to_end.harness import Worker, alert_entries, drained, lags, publish
from tests.servers import install, running

VALID = 6_000
NEVER_COMMITS_SECONDS = 3_600.0


async def undisturbed(settings: Settings, folder: Path) -> Counter[tuple[str, str]]:
    """The alerts of a run in which nothing fails."""
    with Worker(settings, folder / "undisturbed.log") as worker:
        worker.wait_ready()
        await publish(settings, records(VALID))
        await drained(settings, TOPICS, 300)
    return raised(await alert_entries(settings))


async def killed_between_sink_and_commit(settings: Settings, folder: Path) -> None:
    """kill -9 a worker that has written documents and has committed nothing."""
    patient = settings.model_copy(update={"commit_interval_seconds": NEVER_COMMITS_SECONDS})
    with Worker(patient, folder / "a.log") as worker:
        worker.wait_ready()
        await publish(settings, records(VALID))
        written = await wait_for_documents(settings, 200)
        worker.kill()
    behind = sum((await lags(settings, TOPICS)).values())
    print(f"killed between sink and commit: {written} documents written, {behind} to come again")
    assert behind == VALID + BROKEN_COPIES * len(BROKEN)


async def disturbed(settings: Settings, servers: Own, folder: Path) -> None:
    """Two workers; whatever can die dies while records pass."""
    await killed_between_sink_and_commit(settings, folder)
    with (
        Worker(settings, folder / "b.log") as b,
        Worker(settings, folder / "c.log") as c,
        Worker(settings, folder / "d.log") as d,
    ):
        b.wait_ready()
        count = await wait_for_documents(settings, 600)
        c.kill()

        servers.redis.kill()
        await asyncio.sleep(2)
        await restarted(servers.redis)
        count = await wait_for_documents(settings, count + 500)

        servers.elasticsearch.stop_signal()
        await asyncio.sleep(5)
        servers.elasticsearch.continue_signal()
        count = await wait_for_documents(settings, count + 500)

        await block_writes(settings, True)
        await asyncio.sleep(8)
        await block_writes(settings, False)
        count = await wait_for_documents(settings, count + 500)

        code, seconds = await asyncio.to_thread(d.terminate)
        print(f"SIGTERM in the middle: exit {code} after {seconds:.1f} s")
        assert (code, seconds < 20) == (0, True), d.tail()

        with Worker(settings, folder / "e.log"):
            servers.kafka.kill()
            await asyncio.sleep(2)
            await restarted(servers.kafka)
            await drained(settings, TOPICS, 300)
            code, seconds = await asyncio.to_thread(b.terminate)
            assert (code, seconds < 20) == (0, True), b.tail()


@needs_data
async def test_nothing_is_lost_and_nothing_is_seen_twice(guard: Guard, tmp_path: Path) -> None:
    servers = Own(tmp_path)
    install()
    with running(guard, servers.kafka, servers.redis, servers.elasticsearch):
        calm = servers.settings(tmp_path, "calm")
        stormy = servers.settings(tmp_path, "stormy")
        expected = await undisturbed(calm, tmp_path)
        await disturbed(stormy, servers, tmp_path)

        assert await nothing_lost_nothing_twice(stormy, VALID) == expected
