"""Producers of other kinds than ours: compressing, stamping, in transactions."""

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.clients import kafka_options
from stream.settings import Settings

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
LONG = {"transaction_timeout_ms": 600_000}  # or the broker aborts it after a minute
# Kafka 4 refuses a sender's stamp over an hour ahead unless the topic says otherwise.
SENDERS_STAMPS = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "retention.ms": "-1",
}


async def make_topic(
    settings: Settings, topic: str, partitions: int, config: Mapping[str, str] | None = None
) -> None:
    """A topic as somebody else made it, before `init` could."""
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        new = NewTopic(settings.topic(topic), partitions, 1, topic_configs=dict(config or {}))
        await admin.create_topics([new])
    finally:
        await admin.close()


async def produce(
    settings: Settings,
    topic: str,
    values: Iterable[bytes],
    *,
    codec: str | None = None,
    stamp: int | None = None,
    partition: int | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Send values, in as few batches as may be, and wait for the broker's confirmation."""
    producer = _producer(settings, codec)
    await producer.start()
    try:
        topic = settings.topic(topic)
        options: dict[str, Any] = {"partition": partition, "timestamp_ms": stamp}
        sent = [
            await producer.send(topic, value, headers=list(headers), **options) for value in values
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def transaction(
    settings: Settings,
    topic: str,
    values: Iterable[bytes],
    *,
    commits: bool,
    codec: str | None = None,
    partition: int | None = None,
) -> None:
    """The values in one transaction, committed or aborted."""
    producer = await open_transaction(settings, topic, values, codec=codec, partition=partition)
    try:
        await (producer.commit_transaction() if commits else producer.abort_transaction())
    finally:
        await producer.stop()


async def open_transaction(
    settings: Settings,
    topic: str,
    values: Iterable[bytes],
    *,
    codec: str | None = None,
    partition: int | None = None,
) -> AIOKafkaProducer:
    """The producer, in a transaction with these values, all of them sent."""
    producer = _producer(settings, codec, transactional_id=uuid.uuid4().hex, **LONG)
    await producer.start()
    await producer.begin_transaction()
    name = settings.topic(topic)
    sent = [await producer.send(name, value, partition=partition) for value in values]
    await asyncio.gather(*sent)
    return producer


def _producer(settings: Settings, codec: str | None, **options: Any) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **kafka_options(settings), acks="all", linger_ms=20, compression_type=codec, **options
    )
