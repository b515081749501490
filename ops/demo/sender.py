"""Sends the samples: once at a steady pace, then again all at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from ops.demo.figures import Figures
from ops.demo.samples import Sample
from schemas.errors import ServerUnavailable
from stream.brokers import confirmed_producer, send
from stream.settings import Settings

LARGEST_BYTES = 4 << 20  # what `init` lets the topics take


class Sender:
    """Sends samples and keeps in the figures when, and up to which offset they were confirmed."""

    def __init__(self, producer: AIOKafkaProducer, settings: Settings, figures: Figures) -> None:
        self._producer = producer
        self._settings = settings
        self._figures = figures

    async def play(self, samples: Iterable[Sample]) -> None:
        """Send each when it is due; returns when all are confirmed."""
        started = time.time()
        confirmations = []
        for sample in samples:
            due_at = started + sample.due_seconds
            await asyncio.sleep(max(0.0, due_at - time.time()))
            if sample.record:
                self._figures.due_at.setdefault((sample.topic, sample.record.id), due_at)
            confirmations.append(await self._send(sample))
        await self._confirmed(confirmations)

    async def rush(self, samples: Iterable[Sample]) -> None:
        """Send all as fast as possible; returns when all are confirmed."""
        await self._confirmed([await self._send(sample) for sample in samples])

    async def _send(self, sample: Sample) -> asyncio.Future[RecordMetadata]:
        topic = self._settings.topic(sample.topic)
        future = await send(self._producer, topic, sample.parcel.key, sample.parcel.value)
        future.add_done_callback(self._note)
        return future

    def _note(self, confirmation: asyncio.Future[RecordMetadata]) -> None:
        if confirmation.cancelled() or confirmation.exception():
            return
        metadata = confirmation.result()
        part = TopicPartition(metadata.topic, metadata.partition)
        self._figures.confirmed += 1
        self._figures.ends[part] = max(self._figures.ends.get(part, 0), metadata.offset + 1)

    async def _confirmed(self, confirmations: list[asyncio.Future[RecordMetadata]]) -> None:
        try:
            await asyncio.gather(*confirmations)
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka did not take a record: {error!r}") from error


@asynccontextmanager
async def make_sender(settings: Settings, figures: Figures) -> AsyncIterator[Sender]:
    """A connected sender. Raises ServerUnavailable."""
    async with confirmed_producer(settings, LARGEST_BYTES) as producer:
        yield Sender(producer, settings, figures)
