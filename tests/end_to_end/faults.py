"""What can go wrong, done on purpose, and what must have come of it all the same."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from ops.servers import Elasticsearch, Kafka, Redis, Server
from schemas.alerts import Alert, Status
from stream.clients import make_elasticsearch
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import BROKEN, corpus
from tests.end_to_end.harness import Raw, alert_entries, dead_letters, documents

TOPICS = ("financial-news", "customer-messages")
BROKEN_COPIES = 6


def records(valid: int) -> list[Raw]:
    """Valid records with six copies of each of twenty sorts of broken ones strewn in."""
    mixed = corpus(valid)
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


async def restarted(server: Server) -> None:
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.wait_ready)


async def nothing_lost_nothing_twice(settings: Settings, valid: int) -> Counter[tuple[str, str]]:
    """Count what the servers hold, print it, compare it; the alerts of single events."""
    stored_news, stored_messages = [await documents(settings, topic) for topic in TOPICS]
    letters = await dead_letters(settings)
    entries = await alert_entries(settings)
    alerts = raised(entries)
    alert_documents = await documents(settings, "alerts")
    print(
        f"documents: {len(stored_news)} news, {len(stored_messages)} messages; "
        f"dead letters: {len(letters)} identities; alerts: {len(alerts)} from single events, "
        f"{len(alert_documents)} alert documents"
    )
    assert stored_news == Counter(f"n{i}" for i in range(valid // 2))
    assert stored_messages == Counter(f"m{i}" for i in range(valid // 2))
    assert len(letters) == BROKEN_COPIES * len(BROKEN)
    assert len(alerts) >= 50
    assert set(alerts.values()) == {1}
    assert set(alert_documents.values()) == {1}
    assert {alert.id for alert in entries} == set(alert_documents)
    return alerts
