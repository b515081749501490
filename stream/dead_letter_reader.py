"""Reads the dead-letters topic from its beginning to its end of now."""

from collections.abc import AsyncIterator

from aiokafka import ConsumerRecord

from schemas.dead_letters import DeadLetter
from schemas.errors import RecordRejected
from stream.settings import Settings
from stream.topic_reader import read_topic

TOPIC = "dead-letters"


async def read_dead_letters(settings: Settings) -> AsyncIterator[DeadLetter | None]:
    """Every letter, copies too, partition by partition in order; None for what is no dead letter.

    Raises ServerUnavailable, and BellwetherError when there is no such topic.
    """
    async for record in read_topic(settings, TOPIC):
        yield _letter(record)


def _letter(record: ConsumerRecord) -> DeadLetter | None:
    try:
        return DeadLetter.from_kafka(record.key, record.value, record.headers)
    except RecordRejected:
        return None
