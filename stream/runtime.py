"""What one worker process runs beside Faust: servers made ready, the pipeline, its watchmen."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from elasticsearch import ApiError, AsyncElasticsearch, TransportError
from faust.types import TP
from mode import Service
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.errors import ServerUnavailable
from schemas.sources import Source
from stream.alert_store import AlertStore
from stream.app import attach, attach_sources, gather_fetches, hold_back
from stream.bookmarks import Change, Expired
from stream.classifiers import Model, load_model
from stream.clients import make_elasticsearch, make_redis
from stream.consumer import CommittedTransport
from stream.dead_letters import DeadLetterWriter
from stream.document_store import DocumentStore
from stream.drift import MINUTE_SECONDS, DriftWatch
from stream.event_documents import EventDocuments
from stream.feedback import FeedbackDesk, FeedbackParts
from stream.health import HealthServer
from stream.metrics import Metrics
from stream.pipeline import Parts, Pipeline
from stream.retry import pauses
from stream.settings import Settings
from stream.swap import Swapper
from stream.topic_writer import TopicWriter
from stream.topics import FEEDBACK, LABELS, initialise
from stream.unreadable import Unreadable

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
TRIES_BETWEEN_LINES = 150  # five minutes
LOOK_SECONDS = 5.0
PROBE_SECONDS = 2.0
MANY_A_SECOND = 25
ANSWER_SECONDS = 5.0
DAY_SECONDS = 24 * 3600
LABEL_BYTES = 4 * 1024 * 1024  # what the topic takes
# More than Faust fetches at once: the desk takes feedback as it comes, so there are never as many.
FEEDBACK_BUFFERED = 4_096


class Runtime(Service):
    """Starts before the Faust app and stops after it; owns the clients of the sinks.

    `threads` are the model's; `supervisor` tells of the registry's champions, where it is followed.
    """

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        sources: Sequence[Source],
        model: Model,
        threads: int,
        supervisor: Connection | None,
        minute_seconds: float = MINUTE_SECONDS,
    ) -> None:
        super().__init__()
        self._app = app
        self._settings = settings
        self._metrics = Metrics()
        self._assigned: set[TP] = set()
        self._topics_whole = False
        self._answering = {"redis": False, "elasticsearch": False}
        self._health = HealthServer(settings.web_port, self._metrics.registry, self._checks)
        self._redis: Redis = make_redis(settings)
        self._elasticsearch: AsyncElasticsearch = make_elasticsearch(settings)
        self._dead_letters = DeadLetterWriter(settings, self._retried("kafka"))
        self._drift = DriftWatch(
            model.classifier,
            self._elasticsearch,
            self._metrics,
            settings.prefix,
            minute_seconds,
        )
        parts = Parts(
            alerts=AlertStore(
                self._redis, settings.prefix, remember_seconds=settings.retention_days * DAY_SECONDS
            ),
            documents=DocumentStore(self._elasticsearch, self._retried("elasticsearch")),
            dead_letters=self._dead_letters,
            drift=self._drift,
            metrics=self._metrics,
        )
        self._pipeline = Pipeline(settings, model, parts, self._crash_app)
        load = partial(load_model, settings=settings, threads=threads)
        self._swapper = (
            Swapper(self._pipeline, self._metrics, load, supervisor) if supervisor else None
        )
        self._labels = TopicWriter(settings, LABELS, LABEL_BYTES, self._retried("kafka"))
        self._feedback_dead_letters = DeadLetterWriter(settings, self._retried("kafka"))
        self._feedback = self._feedback_desk(parts)
        app.transport = CommittedTransport(
            app,
            skips=settings.unreadable == "skip",
            met=self._met_unreadable,
            changed=self._met_change,
        )
        attach_sources(app, sources, settings, self._pipeline.submit)
        attach(
            app,
            settings.topic(FEEDBACK),
            f"pump-{FEEDBACK}",
            self._feedback.submit,
            buffered=FEEDBACK_BUFFERED,
        )
        handlers: tuple[tuple[Any, Callable[..., Any]], ...] = (
            (app.on_partitions_assigned, self._on_assigned),
            (app.on_partitions_revoked, self._on_revoked),
            (app.on_before_shutdown, self._on_before_shutdown),
        )
        for signal, handler in handlers:
            signal.connect(handler, weak=False)

    def _feedback_desk(self, parts: Parts) -> FeedbackDesk:
        settings = self._settings
        return FeedbackDesk(
            settings,
            FeedbackParts(
                taxonomy=lambda: self._pipeline.model.classifier.taxonomy,
                compared=self._drift.disagreed,
                documents=EventDocuments(self._elasticsearch, parts.documents, settings.prefix),
                labels=self._labels,
                dead_letters=self._feedback_dead_letters,
                metrics=self._metrics,
            ),
            self._crash_app,
            self._hold_feedback,
        )

    async def on_start(self) -> None:
        """Answer probes at once, wait until the servers are there, then take records."""
        await self._health.start()
        await self._until_initialised()
        self._pipeline.start()
        self._feedback.start()

    async def on_stop(self) -> None:
        """Let go of everything; Faust has committed what was finished."""
        await self._pipeline.stop()
        await self._feedback.stop()
        await self._health.stop()
        for close in (
            self._dead_letters.close,
            self._labels.close,
            self._feedback_dead_letters.close,
            self._redis.aclose,
            self._elasticsearch.close,
        ):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await close()
            except (TimeoutError, OSError, KafkaError, RedisError) as error:
                logger.debug("a connection did not close: %r", error)

    async def _until_initialised(self) -> None:
        """A consumer that subscribes before its topics exist never gets a partition."""
        async for _ in pauses():
            if self.should_stop:
                return
            try:
                for line in await initialise(self._settings):
                    logger.info(line)
                return
            except ServerUnavailable as error:
                logger.warning("waiting: %s", error)

    def _retried(self, sink: str) -> Callable[[], None]:
        return self._metrics.sink_retries.labels(sink).inc

    def _met_unreadable(self, met: Unreadable) -> None:
        """Called in the consumer's thread, at each try."""
        if met.is_batch and met.tries == 1:
            self._metrics.unreadable_batches.labels(met.partition.topic).inc()
        if met.tries % TRIES_BETWEEN_LINES == 1:
            logger.error("%s; its partition waits, the others go on", met)

    def _met_change(self, change: Change) -> None:
        """Called in the consumer's thread, once for each."""
        logger.log(logging.ERROR if isinstance(change, Expired) else logging.WARNING, "%s", change)
        if isinstance(change, Expired):
            self._metrics.expired.labels(change.partition.topic).inc(change.count)

    def _crash_app(self, error: BaseException) -> None:
        self.add_future(self._app.crash(error))

    def _hold_feedback(self, held: bool) -> None:
        topic = self._settings.topic(FEEDBACK)
        hold_back(self._app, {tp for tp in self._assigned if tp.topic == topic}, held)

    async def _on_assigned(self, _: Any, *assigned: set[TP], **__: Any) -> None:
        self._assigned = set().union(*assigned)
        if self._assigned:
            logger.info("%d partitions assigned: taking records", len(self._assigned))
        else:
            logger.info("no partition assigned: standing by")
        self._metrics.consumer_lag.clear()

    async def _on_revoked(self, _: Any, *__: set[TP], **___: Any) -> None:
        # Rebalances are eager: every partition is revoked before any is assigned.
        self._assigned = set()
        self._pipeline.forget()
        self._feedback.forget()

    async def _on_before_shutdown(self, _: Any, *__: Any, **___: Any) -> None:
        seconds = self._settings.drain_seconds
        await asyncio.gather(self._pipeline.drain(seconds), self._feedback.drain(seconds))

    def _checks(self) -> Mapping[str, bool]:
        """What readiness takes; the model was loaded before this object was made."""
        partitions, topics = bool(self._assigned), self._topics_whole
        return {"model": True, "partitions": partitions, "topics": topics, **self._answering}

    @Service.task
    async def _probe(self) -> None:
        while not self.should_stop:
            self._answering = {
                "redis": await _answers(self._redis.ping),
                "elasticsearch": await _answers(self._elasticsearch.cluster.health),
            }
            self._measure_lag()
            await self.sleep(PROBE_SECONDS)

    def _measure_lag(self) -> None:
        consumer: Any = self._app.consumer
        for tp in self._assigned:
            end = consumer.highwater(tp)
            # Faust publishes what it has committed only after its first commit.
            committed = consumer._committed_offset.get(tp) or 0
            if end is not None:
                lag = max(0, end - committed)
                self._metrics.consumer_lag.labels(tp.topic, str(tp.partition)).set(lag)

    @Service.task
    async def _follow_registry(self) -> None:
        if self._swapper:
            await self._swapper.follow()

    @Service.task
    async def _watch_load(self) -> None:
        """Gather fetches while records come quickly and are not more than the worker can take."""
        before = self._pipeline.submitted
        while not self.should_stop:
            await self.sleep(WATCH_SECONDS)
            rate = (self._pipeline.submitted - before) / WATCH_SECONDS
            before = self._pipeline.submitted
            gather_fetches(self._app, rate >= MANY_A_SECOND and not self._pipeline.is_behind)

    @Service.task
    async def _watch_topics(self) -> None:
        """See whether topics were deleted, made anew or given partitions."""
        while not self.should_stop:
            consumer: Any = self._app.consumer
            try:
                self._topics_whole = await consumer.look()
            except RuntimeError:  # the loop of its thread is closed: the consumer has stopped
                if not self._app.should_stop:
                    raise
                return
            await self.sleep(LOOK_SECONDS if self._topics_whole else WATCH_SECONDS)

    @Service.task
    async def _watch_drift(self) -> None:
        """Compare the last hour's answers with the model's reference, every minute."""
        while not self.should_stop:
            await self.sleep(self._drift.seconds_left)
            if not self.should_stop:
                await self._drift.report()

    @Service.task
    async def _watch_coordinator(self) -> None:
        """Wake the group coordinator after an error.

        It sleeps until somebody asks it for its errors, and Faust's own fetch loop never does:
        the worker would live on without partitions.
        """
        while not self.should_stop:
            await self.sleep(WATCH_SECONDS)
            thread = getattr(self._app.consumer, "_thread", None)
            consumer = getattr(thread, "_consumer", None)
            if thread is None or consumer is None:
                continue
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await thread.call_thread(_raise_errors, consumer)
            except KafkaError as error:
                logger.warning("the group coordinator reported: %r", error)
                if consumer._coordinator._coordination_task.done():
                    self._crash_app(error)
            except TimeoutError:
                logger.warning("the consumer's thread is busy")
            except RuntimeError:  # its loop is closed: the consumer has stopped
                if not self._app.should_stop:
                    raise
                return


async def _raise_errors(consumer: AIOKafkaConsumer) -> None:
    if consumer._coordinator is not None:  # there is one once the consumer has started
        consumer._coordinator.check_errors()


async def _answers(ask: Callable[[], Any]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await ask()
    except (TimeoutError, OSError, RedisError, ApiError, TransportError):
        return False
    return True
