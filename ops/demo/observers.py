"""Watches the servers and keeps what it sees in the figures.

Each function runs until it is cancelled, and raises ServerUnavailable when its server is gone: so
they are the demo's alarm, too.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from elasticsearch import ApiError, AsyncElasticsearch

from ops.demo.documents import count_documents
from ops.demo.figures import Event, Figures
from ops.demo.samples import Sample
from schemas.alerts import Alert, Status
from schemas.dead_letters import DeadLetter
from schemas.documents import index_name
from schemas.errors import RecordRejected
from stream.alert_store import AlertStore
from stream.brokers import broker_admin, partitions_of, told_plainly
from stream.clients import consumer_options, make_elasticsearch
from stream.dead_letter_reader import TOPIC as DEAD_LETTERS
from stream.elastic_errors import expected_to_answer
from stream.redis_session import redis_session
from stream.settings import Settings
from stream.topic_reader import FETCH_BYTES

DOCUMENT_PAUSE_SECONDS = 0.02
COUNT_PAUSE_SECONDS = 0.5
COMMIT_PAUSE_SECONDS = 0.1
KAFKA_SECONDS = 10.0
REDIS_OUTAGE_SECONDS = 3.0
MOST_DOCUMENTS_ASKED = 100
STARTING = 503  # what a search says of an index that was made this moment

# Seconds from send to alert, where the demo itself sent the event.
SayAlert = Callable[[Alert, float | None], None]
SayLetter = Callable[[DeadLetter], None]


async def follow_alerts(settings: Settings, figures: Figures, say: SayAlert) -> None:
    """Read the stream of alerts in Redis, blocking, so that each is seen as it comes."""
    async with redis_session(settings) as redis:
        store = AlertStore(redis, settings.prefix)
        async for entry in store.watch("0", outage_seconds=REDIS_OUTAGE_SECONDS):
            alert, seconds = entry.alert, None
            due_at = figures.due_at.get((alert.stream, alert.event_id))
            if alert.status is Status.RESOLVED:
                figures.resolved.append(alert)
            else:
                figures.raised.append(alert)
                if due_at:
                    seconds = time.time() - due_at
                    figures.alert_seconds.append(seconds)
            say(alert, seconds)


async def follow_documents(settings: Settings, figures: Figures, samples: Iterable[Sample]) -> None:
    """Ask Elasticsearch, every few milliseconds, for the documents that are still missing.

    A search would see them up to a second later; a get by id sees a document once it is stored.
    """
    places = _places(settings, samples)
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            while True:
                waiting = list(islice(figures.waiting, MOST_DOCUMENTS_ASKED))
                if waiting:
                    await _look_for(client, waiting, places, figures)
                await asyncio.sleep(DOCUMENT_PAUSE_SECONDS)
    finally:
        await client.close()


def _places(settings: Settings, samples: Iterable[Sample]) -> dict[Event, dict[str, str]]:
    """Where the document of each event will be."""
    return {
        (sample.topic, sample.record.id): {
            "_index": index_name(settings.prefix, sample.topic, sample.record.event_time),
            "_id": sample.record.id,
        }
        for sample in samples
        if sample.record
    }


async def _look_for(
    client: AsyncElasticsearch,
    waiting: Sequence[Event],
    places: dict[Event, dict[str, str]],
    figures: Figures,
) -> None:
    docs = [places[event] for event in waiting]
    answer = await client.mget(docs=docs, source=False, realtime=True)
    now = time.time()
    for event, document in zip(waiting, answer["docs"], strict=True):
        if document.get("found"):
            figures.stored_at[event] = now


async def follow_counts(settings: Settings, figures: Figures) -> None:
    """Count the documents by label, twice a second; a search is up to a second behind."""
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            while True:
                await _count(client, settings, figures)
                await asyncio.sleep(COUNT_PAUSE_SECONDS)
    finally:
        await client.close()


async def _count(client: AsyncElasticsearch, settings: Settings, figures: Figures) -> None:
    try:
        figures.counts = await count_documents(client, settings.prefix)
    except ApiError as error:
        if error.meta.status != STARTING:
            raise


async def follow_commits(settings: Settings, figures: Figures) -> None:
    """Ask Kafka how far the worker's group is."""
    async with broker_admin(settings) as admin:
        while True:
            async with asyncio.timeout(KAFKA_SECONDS):
                offsets = await admin.list_consumer_group_offsets(settings.group)
            figures.committed = {part: max(0, at.offset) for part, at in offsets.items()}
            figures.note_progress(time.time())
            await asyncio.sleep(COMMIT_PAUSE_SECONDS)


async def follow_letters(settings: Settings, figures: Figures, say: SayLetter) -> None:
    """Read the dead letters as they come; of copies only the first is said."""
    topic = settings.topic(DEAD_LETTERS)
    partitions = await partitions_of(settings, topic)
    with told_plainly(settings):
        consumer = AIOKafkaConsumer(
            **consumer_options(settings),
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            consumer.assign([TopicPartition(topic, number) for number in partitions])
            async for record in consumer:
                letter = _letter(record)
                if letter and letter.identity not in figures.letters:
                    figures.letters[letter.identity] = letter
                    say(letter)
        finally:
            await consumer.stop()


def _letter(record: ConsumerRecord) -> DeadLetter | None:
    try:
        return DeadLetter.from_kafka(record.key, record.value, record.headers)
    except RecordRejected:
        return None
