"""Writes to a topic of the service's own, each record confirmed before `write` returns."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.brokers import Headers, send
from stream.clients import kafka_options
from stream.retry import pauses
from stream.settings import Settings

logger = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A record to write; a null value is a tombstone in a compacted topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class TopicWriter:
    """Sends to one topic, whose name is without the namespace. Not for concurrent calls.

    At least once, and in order under each key: after a failure all of a call is sent again, so
    the last record under a key is the last in the topic too.
    """

    def __init__(
        self, settings: Settings, topic: str, max_request_bytes: int, on_retry: Callable[[], None]
    ) -> None:
        self._options = kafka_options(settings)
        self._topic = settings.topic(topic)
        self._max_request_bytes = max_request_bytes
        self._on_retry = on_retry
        self._producer: AIOKafkaProducer | None = None

    async def write(self, records: Sequence[Outgoing]) -> None:
        """Return when the brokers hold every record; wait for as long as they are away."""
        async for attempt in pauses():
            try:
                await self._send(records)
                return
            except KafkaError as error:
                self._on_retry()
                if attempt % 10 == 0:
                    logger.warning(
                        "Kafka does not take what goes to %s (%s); trying again", self._topic, error
                    )
                await self.close()

    async def _send(self, records: Sequence[Outgoing]) -> None:
        producer = await self._started()
        confirmations = [await send(producer, self._topic, *record) for record in records]
        await asyncio.gather(*confirmations)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._options, acks="all", max_request_size=self._max_request_bytes
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Let go of the connection; a later write opens another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
