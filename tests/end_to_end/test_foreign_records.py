"""Records as other producers send them: compressed, with stamps of all kinds, in transactions."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream.doctor import examine
from stream.settings import Settings, load_settings
from stream.topics import initialise
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.faults import wait_for_documents
from tests.end_to_end.harness import (
    Worker,
    alert_entries,
    dead_letters,
    documents,
    drained,
    metric,
    publish,
    sources,
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

NEWS, MESSAGES = "financial-news", "customer-messages"
TOPICS = (NEWS, MESSAGES)
GRAVE = "Acme files for bankruptcy after an accounting fraud, its chief executive is arrested"


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, kafka_partitions=1, **servers.settings)


def headlines(name: str, number: int, words: int = 12) -> list[bytes]:
    return [
        encoded(
            news(f"{name}-{n}", f"{name} {n}: Acme raises its forecast", body="profit " * words)
        )
        for n in range(number)
    ]


def ids(name: str, number: int) -> set[str]:
    return {f"{name}-{n}" for n in range(number)}


async def test_every_codec_is_read(settings: Settings, tmp_path: Path) -> None:
    await make_topic(settings, MESSAGES, 2, {"compression.type": "zstd"})  # the broker's own work
    expected: set[str] = set()
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        for codec in CODECS:
            await produce(settings, NEWS, headlines(f"{codec}", 20), codec=codec)
            # Over 32 KiB: snappy comes in several blocks.
            await produce(settings, NEWS, headlines(f"{codec}-long", 3, 9_000), codec=codec)
            expected |= ids(f"{codec}", 20) | ids(f"{codec}-long", 3)
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            other = Producer(
                {"bootstrap.servers": settings.kafka, "compression.type": codec, "linger.ms": 50}
            )
            for value in headlines(f"other-{codec}", 20):
                other.produce(settings.topic(NEWS), value)
            assert other.flush(30) == 0
            expected |= ids(f"other-{codec}", 20)
        await publish(settings, [(MESSAGES, encoded(message("m", "My card is lost")))])
        await drained(settings, TOPICS, 90)
        assert "ended with" not in worker.log.read_text()
    assert set(await documents(settings, NEWS)) == expected
    assert set(await documents(settings, MESSAGES)) == {"m"}
    assert not await dead_letters(settings)


STAMPS = {
    "microseconds": time.time_ns() // 1_000,
    "nanoseconds": time.time_ns(),
    "the largest number": 2**63 - 1,
    "seconds": int(time.time()),
    "zero": 0,
    "none": -1,
    "the least number": -(2**63),
    "in 25 hours": int(time.time() + 25 * 3600) * 1000,
    "1999": 946_000_000_000,
}
ODD_BUT_POSSIBLE = {
    "2003": 1_050_000_000_000,
    "in 20 hours": int(time.time() + 20 * 3600) * 1000,
    "now": int(time.time() * 1000),
}


async def test_a_stamp_that_cannot_be_true_is_no_stamp(settings: Settings, tmp_path: Path) -> None:
    await make_topic(settings, NEWS, 1, SENDERS_STAMPS)
    await make_topic(settings, MESSAGES, 1)
    old = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        for name, stamp in (STAMPS | ODD_BUT_POSSIBLE).items():
            records = [
                encoded(news(name, GRAVE)),
                encoded(news(f"{name}, old", GRAVE, published_at=old)),
                encoded(news(f"{name}, ahead", GRAVE, published_at="2099-01-01T00:00:00Z")),
            ]
            await produce(settings, NEWS, records, stamp=stamp)
        await drained(settings, TOPICS, 60)
        page = worker.get("/metrics")[1]
        assert "ended with" not in worker.log.read_text()
    names = set(STAMPS | ODD_BUT_POSSIBLE)
    assert set(await documents(settings, NEWS)) == names | {f"{name}, old" for name in names}
    assert metric(page, "bellwether_stamps_not_believed_total") == 3 * len(STAMPS)
    letters = (await dead_letters(settings)).values()
    assert [letter.reason.value for letter in letters] == ["time_out_of_range"] * len(names)
    # Old news pages nobody, whatever its stamp, and fresh news does.
    raised = {event for alert in await alert_entries(settings) for event in alert.event_ids}
    assert raised
    assert raised <= names


async def lag_told(worker: Worker, seconds: float = 15.0) -> float:
    """The lag in the metrics, once it is 0 or the seconds are over."""
    deadline = time.monotonic() + seconds
    while True:
        lag = metric(worker.get("/metrics")[1], "bellwether_consumer_lag")
        if not lag or time.monotonic() > deadline:
            return lag
        await asyncio.sleep(0.5)


async def behind(settings: Settings) -> str:
    """What doctor says of the group."""
    (said,) = [
        finding.what
        for finding in await examine(settings)
        if finding.part == "Kafka"
        and ("worker process" in finding.what or "waiting" in finding.what)
    ]
    return said


async def test_what_was_not_committed_never_happened(settings: Settings, tmp_path: Path) -> None:
    await make_topic(settings, NEWS, 2)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        # The first offset of a partition, and then several without a record.
        await transaction(settings, NEWS, headlines("first", 1), commits=True, partition=0)
        await transaction(settings, NEWS, headlines("never", 5), commits=False, partition=0)
        await transaction(settings, NEWS, headlines("second", 5), commits=True, partition=0)
        await transaction(settings, NEWS, [encoded(news("grave", GRAVE))], commits=False)
        await transaction(settings, NEWS, headlines("gone", 3), commits=False, partition=1)
        await wait_for_documents(settings, 6)
        await drained(settings, TOPICS, 30)
        assert await lag_told(worker) == 0
        assert await behind(settings) == "1 worker process, 0 records behind"

        still_open = await open_transaction(settings, NEWS, headlines("open", 4), partition=1)
        await produce(settings, NEWS, headlines("waits", 2), partition=1)
        await produce(settings, NEWS, headlines("passes", 2), partition=0)
        await wait_for_documents(settings, 8)
        await asyncio.sleep(3)
        assert await lag_told(worker) == 0
        assert await behind(settings) == "1 worker process, 0 records behind"
        known = ids("first", 1) | ids("second", 5) | ids("passes", 2)
        assert set(await documents(settings, NEWS)) == known
        await still_open.commit_transaction()
        await still_open.stop()
        await wait_for_documents(settings, 14)
        await drained(settings, TOPICS, 30)
        assert await lag_told(worker) == 0
        assert worker.terminate()[0] == 0
    assert not await alert_entries(settings)

    # While no worker runs, what was aborted is nothing that waits.
    await transaction(settings, NEWS, headlines("gone again", 7), commits=False)
    assert await behind(settings) == "no worker is running; 0 records waiting"
    await transaction(settings, NEWS, headlines("more", 3), commits=True)
    assert await behind(settings) == "no worker is running; 3 records waiting"
    await _is_read_once_after_a_start(settings, tmp_path, headlines("more", 3))


async def _is_read_once_after_a_start(
    settings: Settings, folder: Path, values: Sequence[bytes]
) -> None:
    """Nothing before it comes again."""
    with Worker(settings, folder / "log") as worker:
        worker.wait_ready()
        await drained(settings, TOPICS, 30)
        read = metric(worker.get("/metrics")[1], "bellwether_events_total")
    assert read == len(values)


async def test_aborted_letters_and_markers_do_not_hold_up_a_reader(settings: Settings) -> None:
    """The commands that read a topic to its end do so behind the last marker, too."""
    await initialise(settings)
    await transaction(settings, "dead-letters", [b"x"], commits=False)
    assert await dead_letters(settings) == {}
    await transaction(settings, "feedback", headlines("f", 3), commits=True)
    assert not await sources(settings, NEWS)
