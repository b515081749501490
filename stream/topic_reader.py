"""Reads a topic from its beginning to its end of now, without a trace."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream.brokers import partitions_of, told_plainly
from stream.clients import kafka_options
from stream.settings import Settings

FETCH_BYTES = 8 << 20
FETCH_RECORDS = 500
POLL_MILLISECONDS = 500
SILENCE_SECONDS = 20.0

Ends = dict[TopicPartition, int]


async def read_topic(settings: Settings, name: str) -> AsyncIterator[ConsumerRecord]:
    """Every record of a topic, whose name is without the namespace; each partition in order.

    Without a consumer group: reading leaves no trace. Memory is bounded by the fetch. Raises
    ServerUnavailable, and BellwetherError when there is no such topic.
    """
    topic = settings.topic(name)
    partitions = [TopicPartition(topic, number) for number in await partitions_of(settings, topic)]
    with told_plainly(settings):
        consumer = AIOKafkaConsumer(
            **kafka_options(settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            ends = await _assign(consumer, partitions)
            while ends:
                for record in await _fetch(consumer, ends):
                    yield record
        finally:
            await consumer.stop()


async def _assign(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> Ends:
    """Take every partition from its beginning; answers the ends of those that hold something."""
    begins = await consumer.beginning_offsets(partitions)
    ends: Ends = await consumer.end_offsets(partitions)
    filled = {part: end for part, end in ends.items() if begins[part] < end}
    if filled:
        consumer.assign(list(filled))
        await consumer.seek_to_beginning()
    return filled


async def _fetch(consumer: AIOKafkaConsumer, ends: Ends) -> Sequence[ConsumerRecord]:
    """The next records before the ends; strikes out of `ends` the partitions read so far."""
    async with asyncio.timeout(SILENCE_SECONDS):
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        while not found and ends:
            found = await consumer.getmany(
                *ends, timeout_ms=POLL_MILLISECONDS, max_records=FETCH_RECORDS
            )
            bounds = dict(ends)
            for partition in bounds:
                if await consumer.position(partition) >= bounds[partition]:
                    del ends[partition]
    return [
        record
        for partition, records in found.items()
        for record in records
        if record.offset < bounds[partition]
    ]
