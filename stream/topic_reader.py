"""Reads what is committed of a topic, from its beginning to its end of now, without a trace."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.errors import BellwetherError
from stream.brokers import partitions_of, told_plainly
from stream.clients import consumer_options
from stream.fetching import Fetching, Records
from stream.settings import Settings
from stream.unreadable import Unreadable

FETCH_BYTES = 8 << 20
FETCH_RECORDS = 500
POLL_SECONDS = 0.5
SILENCE_SECONDS = 20.0

logger = logging.getLogger(__name__)

Ends = dict[TopicPartition, int]


async def read_topic(settings: Settings, name: str) -> AsyncIterator[ConsumerRecord]:
    """Every record of a topic, whose name is without the namespace; each partition in order.

    Without a consumer group: reading leaves no trace. Memory is bounded by the fetch. Raises
    ServerUnavailable, and BellwetherError when there is no such topic, or when a batch cannot be
    unpacked that is not to be passed over; where it is, an UnreadableBatch is one of the values.
    """
    topic = settings.topic(name)
    partitions = [TopicPartition(topic, number) for number in await partitions_of(settings, topic)]
    with told_plainly(settings):
        consumer = AIOKafkaConsumer(
            **consumer_options(settings),
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            ends = await _assign(consumer, partitions)
            skips = settings.unreadable == "skip"
            fetching = Fetching(consumer, skips=skips, met=_warn if skips else _refuse)
            while ends:
                for record in await _fetch(consumer, fetching, ends):
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


def _warn(met: Unreadable) -> None:
    if met.tries == 1:
        logger.warning("%s; it is passed over if it stays so", met)


def _refuse(met: Unreadable) -> None:
    raise BellwetherError(f"{met}. BELLWETHER_UNREADABLE=skip passes it over")


async def _fetch(
    consumer: AIOKafkaConsumer, fetching: Fetching, ends: Ends
) -> Sequence[ConsumerRecord]:
    """The next records before the ends; strikes out of `ends` the partitions read so far."""
    async with asyncio.timeout(SILENCE_SECONDS):
        found: Records = {}
        while not found and ends:
            found = await fetching.records(ends, POLL_SECONDS, FETCH_RECORDS)
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
