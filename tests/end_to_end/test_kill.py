"""Processes and servers die while 6,000 records pass: nothing is lost, nothing seen twice."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from ops.servers import Elasticsearch, Kafka, Redis, Server
from ops.servers.guard import Guard
from schemas.alerts import Alert, Status
from stream.clients import make_elasticsearch
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import BROKEN, corpus, needs_data
from tests.end_to_end.harness import (
    Raw,
    Worker,
    alert_entries,
    dead_letters,
    documents,
    drained,
    lags,
    publish,
)
from tests.servers import install, running

TOPICS = ("financial-news", "customer-messages")
VALID, BROKEN_COPIES = 6_000, 6
NEVER_COMMITS_SECONDS = 3_600.0


def records() -> list[Raw]:
    """Valid records with six copies of each of twenty sorts of broken ones strewn in."""
    mixed = corpus(VALID)
    broken = [("financial-news", value) for value, _ in BROKEN.values()] * BROKEN_COPIES
    step = len(mixed) // len(broken)
    for position, record in enumerate(broken):
        mixed.insert(position * (step + 1), record)
    return mixed


def raised(entries: list[Alert]) -> Counter[tuple[str, str]]:
    """How often each event raised each single-event rule that is keyed by the event's id."""
    return Counter(
        (alert.rule, alert.event_id)
        for alert in entries
        if alert.status is Status.FIRING and alert.key == alert.event_id
    )


async def wait_for_documents(settings: Settings, at_least: int, seconds: float = 120.0) -> int:
    deadline = time.monotonic() + seconds
    while (count := await stored(settings)) < at_least:
        assert time.monotonic() < deadline, f"{count} of {at_least} documents"
        await asyncio.sleep(0.1)
    return count


class Own:
    """Servers of this test's own, since it kills them."""

    def __init__(self, folder: Path) -> None:
        self.kafka = Kafka(folder / "kafka", heap_mb=512)
        self.redis = Redis(folder / "redis")
        self.elasticsearch = Elasticsearch(folder / "elasticsearch", heap_mb=512)

    def settings(self, home: Path, namespace: str) -> Settings:
        return load_settings(
            home=home,
            namespace=namespace,
            kafka=self.kafka.address,
            redis=self.redis.address,
            elasticsearch=self.elasticsearch.address,
        )


async def stored(settings: Settings) -> int:
    client = make_elasticsearch(settings)
    try:
        indices = [f"{settings.prefix}{topic}-*" for topic in TOPICS]
        await client.indices.refresh(index=indices)
        return int((await client.count(index=indices))["count"])
    finally:
        await client.close()


async def block_writes(settings: Settings, blocked: bool) -> None:
    client = make_elasticsearch(settings)
    try:
        await client.indices.put_settings(
            index=f"{settings.prefix}financial-news-*",
            settings={"index.blocks.write": blocked},
        )
    finally:
        await client.close()


async def undisturbed(settings: Settings, folder: Path) -> Counter[tuple[str, str]]:
    """The alerts of a run in which nothing fails."""
    with Worker(settings, folder / "undisturbed.log") as worker:
        worker.wait_ready()
        await publish(settings, records())
        await drained(settings, TOPICS, 300)
    return raised(await alert_entries(settings))


async def killed_between_sink_and_commit(settings: Settings, folder: Path) -> None:
    """kill -9 a worker that has written documents and has committed nothing."""
    patient = settings.model_copy(update={"commit_interval_seconds": NEVER_COMMITS_SECONDS})
    with Worker(patient, folder / "a.log") as worker:
        worker.wait_ready()
        await publish(settings, records())
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


async def restarted(server: Server) -> None:
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.wait_ready)


@needs_data
async def test_nothing_is_lost_and_nothing_is_seen_twice(guard: Guard, tmp_path: Path) -> None:
    servers = Own(tmp_path)
    install()
    with running(guard, servers.kafka, servers.redis, servers.elasticsearch):
        calm = servers.settings(tmp_path, "calm")
        stormy = servers.settings(tmp_path, "stormy")
        expected = await undisturbed(calm, tmp_path)
        await disturbed(stormy, servers, tmp_path)

        stored_news, stored_messages = [await documents(stormy, topic) for topic in TOPICS]
        letters = await dead_letters(stormy)
        alerts = raised(await alert_entries(stormy))
        alert_documents = await documents(stormy, "alerts")
        print(
            f"documents: {len(stored_news)} news, {len(stored_messages)} messages; "
            f"dead letters: {len(letters)} identities; alerts: {len(alerts)} from single events, "
            f"{len(alert_documents)} alert documents"
        )
        assert stored_news == Counter(f"n{i}" for i in range(VALID // 2))
        assert stored_messages == Counter(f"m{i}" for i in range(VALID // 2))
        assert len(letters) == BROKEN_COPIES * len(BROKEN)
        assert len(alerts) >= 50
        assert set(alerts.values()) == {1}
        assert alerts == expected
        assert set(alert_documents.values()) == {1}
        every = {alert.id for alert in await alert_entries(stormy)}
        assert every == set(alert_documents)
