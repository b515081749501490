"""Foreign producers of all kinds at once, while partitions are added and workers are killed."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from stream.clients import kafka_options
from stream.doctor import examine
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import (
    Raw,
    Worker,
    alert_entries,
    dead_letters,
    documents,
    drained,
    metric,
)
from tests.end_to_end.producers import (
    CODECS,
    SENDERS_STAMPS,
    make_topic,
    open_transaction,
    produce,
    transaction,
)
from tests.servers import Servers

NEWS, MESSAGES = TOPICS = ("financial-news", "customer-messages")
ROUNDS, RECORDS = 8, 12
PARTITIONS, MORE_PARTITIONS = 2, 5
CALM_SECONDS = 3.0
ADD_AT, KILL_AT = 2, (1, 4, 6)
NOW = int(time.time())
STAMPS = (None, -1, 0, NOW, NOW * 1000, NOW * 10**6, NOW * 10**9, 2**63 - 1, (NOW + 90_000) * 1000)


class Storm:
    """Sends; knows what must be a document in the end and what must not."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        self._draw = random.Random(seed)
        self.known: dict[str, set[str]] = {NEWS: set(), MESSAGES: set()}
        self.never: set[str] = set()

    async def blow(self, number: int) -> None:
        """Each codec by itself and in transactions, to both topics, at the same time."""
        sends = [
            self._send(topic, f"{number}-{codec}-{way}", codec, way)
            for topic in TOPICS
            for codec in CODECS
            for way in ("plain", "committed", "aborted")
        ]
        await asyncio.gather(*sends)

    async def _send(self, topic: str, name: str, codec: str | None, way: str) -> None:
        records = [self._record(topic, f"{topic}-{name}-{n}") for n in range(RECORDS)]
        names = {identity for identity, _ in records}
        values = [value for _, value in records if value is not None]
        (self.never if way == "aborted" else self.known[topic]).update(names)
        if way == "plain":
            stamp = self._draw.choice(STAMPS) if topic == NEWS else None
            await produce(self._settings, topic, values, codec=codec, stamp=stamp)
        else:
            commits = way == "committed"
            await transaction(self._settings, topic, values, commits=commits, codec=codec)

    def _record(self, topic: str, identity: str) -> Raw:
        text = f"Acme {identity}: profit {self._draw.choice(('rises', 'falls'))}"
        return identity, encoded((news if topic == NEWS else message)(identity, text))


async def add_partitions(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        more = {settings.topic(topic): NewPartitions(MORE_PARTITIONS) for topic in TOPICS}
        await admin.create_partitions(more)
    finally:
        await admin.close()


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3))])
async def test_valid_and_committed_records_are_one_document_each(
    servers: Servers, namespace: str, tmp_path: Path, seed: int
) -> None:
    settings = load_settings(home=tmp_path, namespace=namespace, **servers.settings)
    await make_topic(settings, NEWS, PARTITIONS, SENDERS_STAMPS)
    await make_topic(settings, MESSAGES, PARTITIONS, {"compression.type": "zstd"})
    storm = Storm(settings, seed)
    workers = [Worker(settings, tmp_path / f"log-{n}").start() for n in range(2)]
    try:
        for worker in workers:
            worker.wait_ready()
        hanging = await open_transaction(settings, NEWS, [encoded(news("hanging", "Acme falls"))])
        for number in range(ROUNDS):
            await storm.blow(number)
            await asyncio.sleep(CALM_SECONDS)
            if number == ADD_AT:
                await add_partitions(settings)
            if number in KILL_AT:
                workers[0].kill()
                workers.append(Worker(settings, tmp_path / f"log-{number}-killed").start())
                workers.pop(0)
        await hanging.abort_transaction()
        await hanging.stop()
        await drained(settings, TOPICS, 120)
        for worker in workers:
            worker.wait_ready()
        async with asyncio.timeout(20):
            while any(_lag(worker) for worker in workers):
                await asyncio.sleep(0.5)
        said = [one.what for one in await examine(settings) if one.part == "Kafka"]
        assert "2 worker processes, 0 records behind" in said
    finally:
        for worker in workers:
            worker.kill()
    for topic in TOPICS:
        found = await documents(settings, topic)
        assert set(found.values()) == {1}
        assert set(found) == storm.known[topic]
        assert not set(found) & storm.never
    assert not await dead_letters(settings)
    raised = [alert.event_ids for alert in await alert_entries(settings)]
    assert not storm.never & {event for events in raised for event in events}
    assert not [line for line in _lines(tmp_path) if "ended with" in line]


def _lines(folder: Path) -> list[str]:
    return [line for log in folder.glob("log-*") for line in log.read_text().splitlines()]


def _lag(worker: Worker) -> float:
    return metric(worker.get("/metrics")[1], "bellwether_consumer_lag")
