"""Reaching the brokers for an operator: soon, or with the reason why not."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import RecordMetadata

from schemas.errors import BellwetherError, ServerUnavailable
from stream.clients import kafka_options
from stream.settings import Settings

CONNECT_SECONDS = 5.0
# What the framing of a record adds to its key and value, generously.
FRAMING_BYTES = 512
KAFKAS_LIMIT = 1 << 20
_BATCH_BYTES = 256 * 1024
_LINGER_MILLISECONDS = 5

Headers = Sequence[tuple[str, bytes]]


class _LastWords(logging.Handler):
    """Keeps the last complaint of the Kafka client, which its exceptions leave out."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args
        if isinstance(arguments, tuple) and arguments:
            self.text = str(arguments[-1])


@contextmanager
def told_plainly(settings: Settings) -> Iterator[None]:
    """Turn whatever the Kafka client raises into ServerUnavailable with one plain sentence."""
    logger, last_words = logging.getLogger("aiokafka"), _LastWords(logging.WARNING)
    logger.addHandler(last_words)
    try:
        yield
    except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
        unreachable = isinstance(error, KafkaConnectionError | OSError)
        reason = (unreachable and last_words.text) or _in_words(error)
        raise ServerUnavailable(
            f"Kafka at {settings.kafka} does not serve us: {reason}. Is it up (`make up`), and are "
            "BELLWETHER_KAFKA and the security settings beside it right?"
        ) from error
    finally:
        logger.removeHandler(last_words)


def _in_words(error: Exception) -> str:
    """What an error says; its name where it says nothing but a number."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) if re.search("[a-z]", str(error)) else type(error).__name__


@asynccontextmanager
async def broker_admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client. Raises ServerUnavailable within CONNECT_SECONDS."""
    timeout = int(CONNECT_SECONDS * 1000)
    with told_plainly(settings):
        admin = AIOKafkaAdminClient(**kafka_options(settings), request_timeout_ms=timeout)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await admin.start()
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def confirmed_producer(
    settings: Settings, max_value_bytes: int
) -> AsyncIterator[AIOKafkaProducer]:
    """A connected producer whose confirmations mean that every replica has the record, once."""
    with told_plainly(settings):
        producer = AIOKafkaProducer(
            **kafka_options(settings),
            acks="all",
            enable_idempotence=True,
            linger_ms=_LINGER_MILLISECONDS,
            max_batch_size=_BATCH_BYTES,
            max_request_size=max_value_bytes + FRAMING_BYTES,
        )
        try:
            await producer.start()
            yield producer
        finally:
            await producer.stop()


async def send(
    producer: AIOKafkaProducer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Headers = (),
) -> asyncio.Future[RecordMetadata]:
    """Hand a record over; the future is the brokers' confirmation. Key and value may be null."""
    confirmation: asyncio.Future[RecordMetadata]
    if key is None and value is None:  # `producer.send` refuses this, though Kafka does not
        await producer.partitions_for(topic)
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=list(headers))
        confirmation = await producer.send_batch(batch, topic, partition=0)
    else:
        confirmation = await producer.send(topic, value=value, key=key, headers=list(headers))
    return confirmation


async def partitions_of(settings: Settings, topic: str) -> list[int]:
    """The partitions of an existing topic; a consumer knows them only of what it subscribes to.

    Raises BellwetherError when there is no such topic, ServerUnavailable when Kafka is away.
    """
    async with broker_admin(settings) as admin:
        described = await admin.describe_topics()  # to ask for one that is missing may create it
    found = [
        partition["partition"]
        for entry in described
        if entry["topic"] == topic
        for partition in entry["partitions"]
    ]
    if not found:
        raise BellwetherError(f"there is no topic {topic}: run `bellwether init` to create it")
    return sorted(found)


async def topic_configs(
    admin: AIOKafkaAdminClient, topics: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Topic → setting → value; without the topics whose settings we may not read."""
    if not topics:
        return {}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    responses = await admin.describe_configs(wanted)
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for code, _, _, name, entries in response.resources
        if code == 0
    }


async def max_value_bytes(admin: AIOKafkaAdminClient, topic: str) -> int | None:
    """The largest key and value together that a topic takes; None where there is no such topic."""
    if topic not in await admin.list_topics():
        return None
    configs = await topic_configs(admin, [topic])
    return int(configs.get(topic, {}).get("max.message.bytes", KAFKAS_LIMIT)) - FRAMING_BYTES
