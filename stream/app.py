"""The Faust application: consumes the sources, feeds the pipeline, commits behind it.

How Faust is used, and why, stands in ops/decisions.md: agents only pump raw bytes, a ledger
acknowledges in order, and a watchdog keeps the group coordinator from falling asleep.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import faust
from faust.types import TP, EventT, StreamT

from schemas.arrival import Arrival
from schemas.sources import Source
from stream.assignor import EvenAssignor
from stream.clients import kafka_ssl_context, secret, uses_sasl
from stream.events import Incoming
from stream.settings import Settings

FETCH_BYTES_A_PARTITION = 1024 * 1024
# Bytes for which the broker holds a fetch, and how long at most. At once (Faust's own choice) is
# right when there is little to do. With many records a second, to fetch each alone costs the worker
# and the broker so much time that all records are later for it; to ask so often costs too.
FETCH_AT_ONCE, FETCH_GATHERED = (1, 1500), (64 * 1024, 20)
SESSION_SECONDS = 10.0
# After this time without a fetch aiokafka would leave the group and not come back: a worker that
# stands by without partitions, or one that waits for Elasticsearch. The supervisor sees dead ones.
NEVER_SECONDS = 10 * 365 * 24 * 3600.0


def make_app(settings: Settings) -> faust.App:
    """An application with Faust's own store, web server and topic creation left out."""
    return faust.App(
        settings.group,
        datadir=str(settings.faust_folder),
        broker=[f"kafka://{broker}" for broker in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        broker_commit_interval=settings.commit_interval_seconds,
        broker_max_poll_records=500,
        # How long a killed worker's partitions wait. Heartbeats have a thread of their own, so a
        # busy worker is not taken for a dead one.
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=SESSION_SECONDS / 5,
        stream_buffer_maxsize=512,
        stream_wait_empty=False,
        PartitionAssignor=EvenAssignor,
        broker_max_poll_interval=NEVER_SECONDS,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES_A_PARTITION,
        producer_acks=-1,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        worker_redirect_stdouts=False,
    )


def _credentials(settings: Settings) -> Any:
    context = kafka_ssl_context(settings)
    if uses_sasl(settings):
        return faust.SASLCredentials(
            username=settings.kafka_user,
            password=secret(settings.kafka_password),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None


def attach_sources(
    app: faust.App,
    sources: Sequence[Source],
    settings: Settings,
    submit: Callable[[Source, Incoming], Awaitable[None]],
) -> None:
    """Give each source an agent that pumps its records into `submit`."""
    for source in sources:
        attach(app, settings.topic(source.topic), f"pump-{source.topic}", partial(submit, source))


def attach(
    app: faust.App,
    topic: str,
    name: str,
    submit: Callable[[Incoming], Awaitable[None]],
    *,
    buffered: int | None = None,
) -> None:
    """Give a topic, by its full name, an agent that pumps its records into `submit`.

    Of `buffered` records (None: the application's own number) that nobody has taken yet, Faust
    stops handing out records of all topics.
    """
    channel = app.topic(
        topic,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        maxsize=buffered,
    )
    app.agent(channel, name=name)(_pump(app, submit))


def _pump(
    app: faust.App, submit: Callable[[Incoming], Awaitable[None]]
) -> Callable[[StreamT[bytes]], Awaitable[None]]:
    async def pump(stream: StreamT[bytes]) -> None:
        # An exception that leaves an agent stalls its partitions or loses records: a bug ends
        # the worker instead, which starts again from the committed offsets.
        try:
            async for event in stream.noack().events():  # type: ignore[attr-defined]
                await submit(_incoming(event))
        except Exception as error:
            await app.crash(error)

    return pump


def _incoming(event: EventT[bytes]) -> Incoming:
    message = event.message
    return Incoming(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        generation=message.generation_id or 0,
        key=message.key,
        value=message.value,
        arrival=Arrival.told(
            None if message.timestamp is None else message.timestamp * 1000,
            message.timestamp_type,
            datetime.now(UTC),
        ),
        acknowledge=event.ack,
    )


def hold_back(app: faust.App, partitions: Iterable[TP], held: bool) -> None:
    """Fetch no more of these partitions for now, or fetch again; the others are not concerned.

    What has been fetched already still comes: Faust would lose it with `pause_partitions`.
    """
    consumer: Any = app.consumer
    for partition in partitions:
        (consumer.on_buffer_full if held else consumer.on_buffer_drop)(partition)


def gather_fetches(app: faust.App, gathered: bool) -> None:
    """Whether the broker gathers records for a moment; Faust does not pass these options on."""
    thread: Any = getattr(app.consumer, "_thread", None)
    consumer = getattr(thread, "_consumer", None)
    fetcher = getattr(consumer, "_fetcher", None)
    if fetcher is not None:  # there is one once the consumer has started
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = (
            FETCH_GATHERED if gathered else FETCH_AT_ONCE
        )
