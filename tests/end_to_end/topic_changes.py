"""What people do to topics while workers read them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import for_code
from aiokafka.structs import TopicPartition

from stream.clients import kafka_options
from stream.settings import Settings
from tests.end_to_end.corpus import encoded, news

NEWS = "financial-news"


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def add_partitions(settings: Settings, total: int, topic: str = NEWS) -> None:
    async with admin_of(settings) as admin:
        await admin.create_partitions({settings.topic(topic): NewPartitions(total)})


async def delete(settings: Settings, topic: str = NEWS) -> None:
    """Delete a topic; when this returns, its name is free."""
    name = settings.topic(topic)
    async with admin_of(settings) as admin:
        await admin.delete_topics([name])
        while name in await admin.list_topics():
            await asyncio.sleep(0.05)


async def create(settings: Settings, partitions: int, topic: str = NEWS) -> None:
    async with admin_of(settings) as admin:
        response = await admin.create_topics([NewTopic(settings.topic(topic), partitions, 1)])
        for _, code, *_ in response.topic_errors:
            assert code == 0, for_code(code)


async def expire(settings: Settings, partition: int, before: int, topic: str = NEWS) -> None:
    """Take the records before an offset away, as retention does."""
    found = TopicPartition(settings.topic(topic), partition)
    async with admin_of(settings) as admin:
        await admin.delete_records({found: RecordsToDelete(before)})


async def put(settings: Settings, names: Iterable[str], partitions: int, topic: str = NEWS) -> None:
    """News with these ids, spread evenly over the partitions."""
    async with AIOKafkaProducer(**kafka_options(settings), acks="all") as producer:
        for number, name in enumerate(names):
            value = encoded(news(name, f"Acme reports its quarter {number}"))
            await producer.send_and_wait(
                settings.topic(topic), value, partition=number % partitions
            )


def names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(count)]
