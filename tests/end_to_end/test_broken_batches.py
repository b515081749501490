"""Batches that the Kafka client cannot unpack: their partitions wait, or they are passed over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.servers import Kafka
from ops.servers.guard import Guard
from stream.doctor import examine
from stream.findings import Level
from stream.settings import Settings, load_settings
from tests.end_to_end import segments
from tests.end_to_end.corpus import encoded, news
from tests.end_to_end.faults import restarted, wait_for_documents
from tests.end_to_end.harness import Worker, dead_letters, documents, lags, metric
from tests.end_to_end.producers import make_topic, produce
from tests.servers import Servers, install, running

NEWS = "financial-news"
BROKEN: dict[str, segments.Damage] = {
    "a flipped bit": segments.flipped,
    "an older format": segments.magic(1),
    "the oldest format": segments.magic(0),
    "a newer format": segments.magic(3),
    "an unknown codec": segments.codec(6),
    "zstd that is none": segments.codec(4),
    "gzip that is none": segments.codec(1),
    "a wrong last offset": segments.last_offset,
    "a header's name": segments.resealed(segments.header_name),
}
# Kafka 4.1 itself may stumble over these and refuse all that comes behind them.
OLDER = ("an older format", "the oldest format")
# Each partition: the records a0 and a1, the broken batch of b0 to b2, then c0 and c1.
GOOD_BEFORE, BROKEN_RECORDS, GOOD_AFTER = 2, 3, 2


def named(partition: int, letter: str, number: int) -> list[str]:
    return [f"{partition}-{letter}{n}" for n in range(number)]


def values(names: list[str]) -> list[bytes]:
    return [encoded(news(name, f"{name}: Acme raises its forecast")) for name in names]


async def fill(settings: Settings, partition: int) -> None:
    for letter, number in (("a", GOOD_BEFORE), ("b", BROKEN_RECORDS), ("c", GOOD_AFTER)):
        batch = values(named(partition, letter, number))
        headers = [("name", b"x")] if letter == "b" else []
        await produce(settings, NEWS, batch, partition=partition, headers=headers)


class Brokers:
    """A broker of this test's own, with a partition for each sort of damage and one without."""

    def __init__(self, kafka: Kafka, settings: Settings) -> None:
        self.kafka = kafka
        self.settings = settings
        self.healthy = len(BROKEN)

    def file(self, partition: int) -> Path:
        topic = self.settings.topic(NEWS)
        return segments.segment(self.kafka.folder / "data", topic, partition)


@pytest.fixture
async def brokers(
    servers: Servers, guard: Guard, tmp_path: Path, namespace: str
) -> AsyncIterator[Brokers]:
    install()
    kafka = Kafka(tmp_path / "kafka", heap_mb=512)
    with running(guard, kafka):
        given = servers.settings | {"kafka": kafka.address}
        settings = load_settings(home=tmp_path, namespace=namespace, kafka_partitions=1, **given)
        await make_topic(settings, NEWS, len(BROKEN) + 1)
        for partition in range(len(BROKEN) + 1):
            await fill(settings, partition)
        yield Brokers(kafka, settings)


async def behind(settings: Settings, partitions: list[int]) -> int:
    """Their lag together."""
    found = await lags(settings, [NEWS])
    return sum(lag for tp, lag in found.items() if tp.partition in partitions)


async def test_its_partition_waits_or_it_is_passed_over(brokers: Brokers, tmp_path: Path) -> None:
    settings, healthy = brokers.settings, brokers.healthy
    brokers.kafka.stop()
    whole = {
        partition: segments.damage(brokers.file(partition), 1, change)
        for partition, change in enumerate(BROKEN.values())
    }
    await restarted(brokers.kafka)
    before = {name for n in range(healthy) for name in named(n, "a", GOOD_BEFORE)}
    others = {
        name for letter, k in (("a", 2), ("b", 3), ("c", 2)) for name in named(healthy, letter, k)
    }
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        await wait_for_documents(settings, len(before | others))
        await produce(settings, NEWS, values(named(healthy, "d", 1)), partition=healthy)
        others |= set(named(healthy, "d", 1))
        await wait_for_documents(settings, len(before | others))
        await asyncio.sleep(8)
        assert set(await documents(settings, NEWS)) == before | others
        page = worker.get("/metrics")[1]
        assert metric(page, "bellwether_unreadable_batches_total") == len(BROKEN)
        waits = len(BROKEN) * (BROKEN_RECORDS + GOOD_AFTER)
        assert metric(page, "bellwether_consumer_lag") == waits
        assert worker.get("/ready")[0] == 200
        log = worker.log.read_text()
        assert "ended with" not in log
        for partition in range(healthy):
            assert (
                f"offset 2 of {settings.topic(NEWS)}, partition {partition}, cannot be read" in log
            )
        told = [one for one in await examine(settings) if "cannot be read" in one.what]
        assert len(told) == len(BROKEN)
        assert {one.level for one in told} == {Level.WRONG}

        # The disk is mended, say from a replica: the partition goes on by itself.
        brokers.kafka.stop()
        brokers.file(0).write_bytes(whole[0])
        await restarted(brokers.kafka)
        mended = set(named(0, "b", BROKEN_RECORDS)) | set(named(0, "c", GOOD_AFTER))
        await wait_for_documents(settings, len(before | others | mended))
        assert worker.terminate()[0] == 0

    skipping = settings.model_copy(update={"unreadable": "skip"})
    given_out = [n for n, sort in enumerate(BROKEN) if n and sort not in OLDER]
    older = {n for n, sort in enumerate(BROKEN) if sort in OLDER}
    after = {name for n in given_out for name in named(n, "c", GOOD_AFTER)}
    with Worker(skipping, tmp_path / "log-2") as worker:
        worker.wait_ready()
        async with asyncio.timeout(90):
            while await behind(settings, given_out):
                await asyncio.sleep(0.5)
        assert "ended with" not in worker.log.read_text()
    found = {name for name in await documents(settings, NEWS) if int(name[0]) not in older}
    assert found == {name for name in before | others | mended | after if int(name[0]) not in older}
    letters = await dead_letters(settings)
    assert {part for _, part, _ in letters} - older == set(given_out)
    for (_, _, offset), letter in letters.items():
        assert offset == GOOD_BEFORE
        assert letter.reason.value == "undecodable"
        assert "a batch of Kafka (offsets 2–4) cannot be read: " in letter.message
        assert letter.value
