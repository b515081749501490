"""Writes dead letters, each confirmed by the brokers before its record counts as done."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.dead_letters import DeadLetter
from stream.brokers import send
from stream.clients import kafka_options
from stream.retry import pauses
from stream.settings import Settings

# What the topic takes, with key, headers and framing.
MAX_REQUEST_BYTES = 5 * 1024 * 1024

logger = logging.getLogger(__name__)


class DeadLetterWriter:
    """Sends to the `dead-letters` topic. A copy is harmless: the identity is the origin."""

    def __init__(self, settings: Settings, on_retry: Callable[[], None]) -> None:
        self._options = kafka_options(settings)
        self._topic = settings.topic("dead-letters")
        self._on_retry = on_retry
        self._producer: AIOKafkaProducer | None = None

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when the brokers hold every letter; wait for as long as they are away."""
        async for attempt in pauses():
            try:
                await self._send(letters)
                return
            except KafkaError as error:
                self._on_retry()
                if attempt % 10 == 0:
                    logger.warning("Kafka does not take dead letters (%s); trying again", error)
                await self.close()

    async def _send(self, letters: Sequence[DeadLetter]) -> None:
        producer = await self._started()
        confirmations = [
            await send(producer, self._topic, letter.key, letter.value, letter.headers())
            for letter in map(DeadLetter.fitted, letters)
        ]
        await asyncio.gather(*confirmations)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._options, acks="all", max_request_size=MAX_REQUEST_BYTES
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
