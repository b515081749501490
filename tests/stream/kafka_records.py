"""Topics for a test, and what they hold."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.dead_letters import DeadLetter
from schemas.sources import load_sources
from stream.brokers import send
from stream.settings import Settings
from stream.topics import plans

PARTITIONS = 2


async def create_topics(settings: Settings, *names: str) -> None:
    """The service's topics of these names, configured as `init` does it."""
    wanted = {plan.name: plan.config for plan in plans(load_sources(), settings)}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(settings.topic(name), PARTITIONS, 1, topic_configs=wanted[name])
                for name in names
            ]
        )
    finally:
        await admin.close()


async def records(settings: Settings, name: str) -> list[ConsumerRecord]:
    """All that a topic holds, by the time of arrival."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic(name), n) for n in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        missing = sum((await consumer.end_offsets(partitions)).values())
        found: list[ConsumerRecord] = []
        while len(found) < missing:
            batches = await consumer.getmany(timeout_ms=200)
            found += [record for batch in batches.values() for record in batch]
        return sorted(found, key=lambda record: (record.timestamp, record.offset))
    finally:
        await consumer.stop()


async def put_letters(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    """Write dead letters as the worker does."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, max_request_size=5 << 20)
    await producer.start()
    try:
        for letter in letters:
            topic = settings.topic("dead-letters")
            await (await send(producer, topic, letter.key, letter.value, letter.headers()))
    finally:
        await producer.stop()
