"""The labels that stand in the topic, read from a real Kafka."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from schemas.labels import LabelRecord
from schemas.taxonomy import SENTIMENT
from stream.clients import kafka_options
from stream.labels import read_labels
from stream.settings import Settings, load_settings
from tests.servers import Servers
from tests.stream.kafka_records import create_topics

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
async def settings(servers: Servers, namespace: str) -> Settings:
    settings = load_settings(kafka=servers.kafka.address, namespace=namespace)
    await create_topics(settings, "labels")
    return settings


def label(annotator: str, says: str, given_at: datetime = NOON) -> LabelRecord:
    return LabelRecord(
        task=SENTIMENT,
        event_id="n1",
        annotator=annotator,
        stream="financial-news",
        label=says,
        text="Acme rises",
        given_at=given_at,
        feedback_id="f",
    )


async def write(settings: Settings, *records: LabelRecord | tuple[bytes, bytes | None]) -> None:
    async with AIOKafkaProducer(**kafka_options(settings), acks="all") as producer:
        for record in records:
            key, value = (
                (record.key, record.to_json()) if isinstance(record, LabelRecord) else record
            )
            # A time of its own, which the broker does not believe.
            await producer.send_and_wait(
                settings.topic("labels"), value, key=key, timestamp_ms=1_000
            )


async def test_all_records_of_a_key_are_one_label(settings: Settings) -> None:
    sent = datetime.now(UTC)
    await write(settings, *[label("ann", "negative")] * 500)
    await write(settings, label("bob", "neutral", NOON + timedelta(hours=1)))
    await write(settings, label("bob", "positive"))  # given before, and late in coming
    found = await read_labels(settings)
    standing = {each.record.annotator: each for each in found.standing}
    assert {name: each.record.label for name, each in standing.items()} == {
        "ann": "negative",
        "bob": "neutral",
    }
    assert (found.repeated, found.unreadable) == (500, 0)
    assert sum(found.positions.values()) == 502
    assert found.since({}) == 2
    assert found.since(found.positions) == 0
    # Whatever an annotator claims, what counts is when the label came.
    assert all(each.given().given_at >= sent - timedelta(seconds=1) for each in found.standing)


async def test_a_tombstone_erases_and_what_is_no_label_is_counted(settings: Settings) -> None:
    ann, bob = label("ann", "negative"), label("bob", "neutral")
    await write(settings, ann, bob, (ann.key, None), (b"key", b"{}"))
    found = await read_labels(settings)
    assert [each.record.annotator for each in found.standing] == ["bob"]
    assert (found.repeated, found.unreadable) == (0, 1)
