"""A record that comes again under its id, corrected, through real workers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.alerts import Alert
from stream.clients import kafka_options
from stream.settings import Settings, load_settings
from stream.topics import initialise
from tests.end_to_end.corpus import encoded, message, news, stamp
from tests.end_to_end.harness import Worker, alert_entries, drained, publish, sources
from tests.end_to_end.test_feedback import give, labels, said
from tests.servers import Servers

TOPICS = ("financial-news", "customer-messages", "feedback")
NEWS, MESSAGES = TOPICS[:2]
GRAVE, WORSE, HARMLESS = "Acme files for bankruptcy", "Acme bankruptcy: chief held", "Acme rises"
RULES = """
- name: grave
  kind: news
  when: {words: [bankruptcy]}
  key: event_id
  severity: critical
  reason: "{headline}"
- name: falling
  kind: news
  when: {words: [fall, falls]}
  key: source
  count: 3
  window: 10m
  severity: warning
  reason: "{count} falls on {key}"
"""


@pytest.fixture
async def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    given = {**servers.settings, "kafka_partitions": 2, "rules": rules}
    settings = load_settings(home=tmp_path, namespace=namespace, **given)
    await initialise(settings)
    return settings


async def put(settings: Settings, partition: int, *records: dict[str, Any]) -> None:
    """News, one after the other, into a partition of its topic."""
    producer = AIOKafkaProducer(**kafka_options(settings), acks="all")
    await producer.start()
    try:
        for record in records:
            topic = settings.topic(NEWS)
            await producer.send_and_wait(topic, encoded(record), partition=partition)
    finally:
        await producer.stop()


async def read_again(settings: Settings, partitions: Sequence[int]) -> None:
    """Set the group back to the beginning; no worker runs."""
    consumer = AIOKafkaConsumer(**kafka_options(settings), group_id=settings.group)
    await consumer.start()
    try:
        beginnings = {TopicPartition(settings.topic(NEWS), each): 0 for each in partitions}
        consumer.assign(list(beginnings))
        await consumer.commit(beginnings)
    finally:
        await consumer.stop()


async def changes(settings: Settings) -> list[tuple[str, str, str | None]]:
    """Of each change of an alert: which event raised it, the status, and why."""
    return [(a.event_id, a.status.value, a.resolved_because) for a in await alert_entries(settings)]


async def statuses(settings: Settings) -> dict[str, Any]:
    """Event to what the document of its alert says."""
    found = (await sources(settings, "alerts")).values()
    return {each["event_id"]: each["status"] for each in found}


async def test_a_document_is_the_newest_record_and_keeps_what_people_said(
    settings: Settings, tmp_path: Path
) -> None:
    full = {"body": "A body.", "symbols": ["ACME"], "url": "https://a.example", "language": "en"}
    thread = {"conversation_id": "t-1", "language": "en", "customer_id": "c"}
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        published = stamp()
        await put(settings, 0, news("n", GRAVE, published_at=published, **full))
        await publish(settings, [(MESSAGES, encoded(message("m", "My card is lost", **thread)))])
        await drained(settings, TOPICS, 60)
        assert full.items() <= (await sources(settings, NEWS))["n"].items()
        await give(settings, [said("n", "negative")])
        await drained(settings, TOPICS, 60)
        before = (await labels(settings)).values()
        assert [each.text for each in before] == [f"{GRAVE}\n\nA body."]

        await put(settings, 1, news("n", HARMLESS, published_at=published))
        corrected = message("m", "It is found", customer_id="c")
        await publish(settings, [(MESSAGES, encoded(corrected))])
        await drained(settings, TOPICS, 60)
        document = (await sources(settings, NEWS))["n"]
        assert document["headline"] == HARMLESS
        assert not full.keys() & document.keys()
        assert document["human"] == {"sentiment": "negative"}
        assert document["origin"]["partition"] == 1
        told = (await sources(settings, MESSAGES))["m"]
        assert told["text"] == "It is found"
        assert not {"conversation_id", "language"} & told.keys()

        await give(settings, [said("n", "positive", annotator="bob")])
        await drained(settings, TOPICS, 60)
        after = {key.annotator: each for key, each in (await labels(settings)).items()}
        assert after["bob"].text == HARMLESS
        assert after["bob"].model is not None
        assert after["bob"].model.label == document["sentiment"]["label"]
        assert (await sources(settings, NEWS))["n"]["human"] == {"sentiment": "positive"}


async def test_alerts_follow_what_the_newest_version_says(
    settings: Settings, tmp_path: Path
) -> None:
    at = {"published_at": stamp()}
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        for headlines in (
            {"up": HARMLESS, "down": GRAVE, "window": "Acme falls 9 %", "same": GRAVE},
            {"up": GRAVE, "down": HARMLESS, "window": GRAVE, "same": WORSE},
        ):
            await put(settings, 0, *(news(name, h, **at) for name, h in headlines.items()))
            await drained(settings, TOPICS, 60)
        said_so_far = await changes(settings)
        assert sorted(said_so_far, key=lambda each: each[0]) == [
            ("down", "firing", None),
            ("down", "resolved", "corrected"),
            ("same", "firing", None),
            ("up", "firing", None),
            ("window", "firing", None),
        ]
        # The same content once more, sent anew.
        await put(settings, 1, news("up", GRAVE, **at), news("down", HARMLESS, **at))
        await drained(settings, TOPICS, 60)
        assert await changes(settings) == said_so_far

        await put(settings, 0, news("down", WORSE, **at))
        await drained(settings, TOPICS, 60)
        last = (await alert_entries(settings))[-1]
        assert (last.event_id, last.status, last.raised_again) == ("down", "firing", 1)
        assert set((await statuses(settings)).values()) == {"firing"}
        await put(settings, 1, news("down", HARMLESS, **at))
        await drained(settings, TOPICS, 60)
        assert (await statuses(settings))["down"] == "resolved"


async def test_what_is_read_again_puts_nothing_old_back(settings: Settings, tmp_path: Path) -> None:
    """Versions in two partitions, of which the older ones are read again alone, then all."""
    at = {"published_at": stamp()}
    firsts = {"up": HARMLESS, "down": GRAVE, "moved": f"{HARMLESS} a"}
    seconds = {"up": GRAVE, "down": HARMLESS, "moved": f"{HARMLESS} b"}
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        for partition, headlines in enumerate((firsts, seconds)):
            records = [news(name, h, body=h, **at) for name, h in headlines.items()]
            await put(settings, partition, *records)
            await drained(settings, TOPICS, 60)
        worker.terminate()
    written, said_so_far = await sources(settings, NEWS), await changes(settings)
    assert {name: each["headline"] for name, each in written.items()} == seconds
    for partitions in ((0,), (0, 1)):
        await read_again(settings, partitions)
        with Worker(settings, tmp_path / "log") as worker:
            worker.wait_ready()
            await drained(settings, TOPICS, 60)
            worker.terminate()
        assert await sources(settings, NEWS) == written
        assert await changes(settings) == said_so_far


async def test_a_backlog_in_two_partitions_ends_with_the_newest_versions(
    settings: Settings, tmp_path: Path
) -> None:
    """Partitions are read side by side, so that a correction often comes before what it corrects;
    and a worker is killed meanwhile."""
    at = {"published_at": stamp()}
    texts = [GRAVE, HARMLESS, WORSE, f"{HARMLESS} again"]
    newest = {f"n{i}": texts[i % 4] for i in range(60)}
    for version in range(4):
        records = [
            news(f"n{i}", texts[(i + 1 + version) % 4], body=f"version {version}", **at)
            for i in range(60)
        ]
        await put(settings, version % 2, *records)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        worker.kill()
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        await drained(settings, TOPICS, 90)
        grave = {name for name, headline in newest.items() if "bankruptcy" in headline}
        async with asyncio.timeout(30):  # resolutions are offered with the next call to Redis
            while {n for n, told in (await statuses(settings)).items() if told == "firing"} > grave:
                await asyncio.sleep(0.5)
        worker.terminate()
    written = await sources(settings, NEWS)
    assert {name: each["headline"] for name, each in written.items()} == newest
    assert {each["body"] for each in written.values()} == {"version 3"}
    last: dict[str, Alert] = {a.event_id: a for a in await alert_entries(settings)}
    firing = {name for name, alert in last.items() if alert.status == "firing"}
    assert firing == grave
    told = await statuses(settings)
    assert {name for name, status in told.items() if status == "firing"} == grave
