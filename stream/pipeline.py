"""The way of a record: decode, batch, classify, judge, store, acknowledge.

Promises on a crash: a record is acknowledged only after Redis and Elasticsearch (or the
dead-letter topic) confirmed it, and acknowledgements go in the order of offsets, so whatever was
under way is delivered again and written again; every sink is idempotent.

Each stage is one task that hands batches on through a queue that the room alone bounds: alerts do
not wait for a slow Elasticsearch, and a slow sink slows the consumer, never the heap. What waits
for Elasticsearch goes to it together, so its requests grow with its slowness.
No stage raises for a server that is away: it waits. Any other exception is a bug; it crashes the
worker, which starts again from the committed offsets.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from redis.exceptions import RedisError

from models.classifier import Classifier
from schemas.dead_letters import DeadLetter
from schemas.decoding import decode
from schemas.documents import alert_change
from schemas.errors import Reason, RecordRejected
from schemas.predictions import Classification
from schemas.sources import Source
from stream.alert_store import AlertStore
from stream.alerts import Judged, Verdict
from stream.analysis import Analysis
from stream.batcher import Batcher
from stream.cancellation import cancelled
from stream.classifiers import Model
from stream.dead_letters import DeadLetterWriter
from stream.document_store import DocumentStore
from stream.drift import DriftWatch
from stream.elastic import Rejection
from stream.events import AnalysedEvent, Batch, Event, Incoming
from stream.ledger import Lane, Ledger, Ticket
from stream.metrics import Metrics
from stream.overtaken import overtaken
from stream.retry import pauses
from stream.room import Room
from stream.settings import Settings

logger = logging.getLogger(__name__)

IDLE_JUDGE_SECONDS = 10
CHARACTERS_PER_TOKEN = 3
STORE_INTERVAL_SECONDS = 0.05

T = TypeVar("T")
Rejected = tuple[Incoming, Ticket, DeadLetter]
Answer = Classification | Exception
# With the analysis that belongs to the model that answered: it may be another's turn by now.
Classified = tuple[Sequence[Event], Sequence[Answer], Analysis]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with, beside the model, which may be another one later."""

    alerts: AlertStore
    documents: DocumentStore
    dead_letters: DeadLetterWriter
    drift: DriftWatch
    metrics: Metrics


class Pipeline:
    """Takes records by `submit` and acknowledges each when every sink has confirmed it.

    `crash` is called, once a bug, with an exception that no stage expected.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model,
        parts: Parts,
        crash: Callable[[BaseException], None],
    ) -> None:
        self._prefix = settings.prefix
        self._parts = parts
        self._model = model
        self._metrics = parts.metrics
        self._crash = crash
        self._ledger = Ledger()
        self._room = Room(settings.in_flight_records, settings.in_flight_bytes)
        self._batcher: Batcher[Event] = Batcher(
            settings.batch_tokens, settings.batch_records, settings.linger_seconds
        )
        self._rejected: asyncio.Queue[Rejected] = asyncio.Queue()
        self._classified: asyncio.Queue[Classified] = asyncio.Queue()
        self._alerted: asyncio.Queue[Batch] = asyncio.Queue()
        self._engine = ThreadPoolExecutor(1, "engine")
        self._tasks: list[asyncio.Task[None]] = []
        self._resolving = False
        self.submitted = 0
        self._metrics.in_flight.set_function(lambda: self._room.records)
        self._metrics.serves(self._model.version)

    def start(self) -> None:
        """Start the stages on the running loop."""
        stages = (self._classify(), self._judge(), self._store(), self._bury())
        self._tasks = [asyncio.create_task(self._guarded(stage)) for stage in stages]

    @property
    def model(self) -> Model:
        """The model that judges now."""
        return self._model

    @property
    def classifier(self) -> Classifier:
        """That of the model that judges now."""
        return self._model.classifier

    def swap(self, model: Model) -> None:
        """Judge by another model from the next batch on. What the old one has answered goes its
        way with the old one's labels; then it is freed."""
        self._metrics.serves(model.version, instead_of=self._model.version)
        self._parts.drift.renew(model.classifier)
        self._model = model

    @property
    def is_behind(self) -> bool:
        """Whether more waits for the model than one batch."""
        return len(self._batcher) > self._batcher.max_records

    async def drain(self, seconds: float) -> None:
        """Wait until nothing is in flight, for `seconds` at most."""
        logger.info("draining: %d records are under way", self._room.records)
        try:
            async with asyncio.timeout(seconds):
                await self._room.empty()
        except TimeoutError:
            logger.warning("%d records were not finished; they come again", self._room.records)
        else:
            logger.info("drained: every record that was read is where it belongs")

    async def stop(self) -> None:
        """End the stages. What is under way is not acknowledged and comes again."""
        await cancelled(*self._tasks)
        self._engine.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """The partitions were revoked: acknowledge nothing of what is under way."""
        self._ledger.forget()

    async def submit(self, source: Source, incoming: Incoming) -> None:
        """Take a record; waits while too much is in flight. Never raises for a bad record."""
        self.submitted += 1
        await self._room.enter(incoming.size)
        lane = Lane(incoming.topic, incoming.partition, incoming.generation)
        ticket = self._ledger.open(lane, incoming.acknowledge)
        self._metrics.took(incoming.topic, stamped=incoming.arrival.stamp is not None)
        try:
            decoded = decode(incoming.content(), source, incoming.arrival.latest)
        except RecordRejected as rejection:
            self._reject(incoming, ticket, rejection.reason, str(rejection))
            return
        self._metrics.unknown_fields.inc(decoded.unknown_fields)
        tokens = self._estimate(decoded.record.text)
        self._batcher.add(Event(incoming, ticket, decoded.record, tokens))

    def _estimate(self, text: str) -> int:
        return min(self.classifier.window_tokens, len(text) // CHARACTERS_PER_TOKEN + 2)

    def _reject(self, incoming: Incoming, ticket: Ticket, reason: Reason, message: str) -> None:
        self._rejected.put_nowait((incoming, ticket, incoming.dead_letter(reason, message)))

    def _finish(self, incoming: Incoming, ticket: Ticket) -> None:
        self._ledger.finish(ticket)
        self._room.leave(incoming.size)

    async def _guarded(self, stage: Coroutine[Any, Any, None]) -> None:
        try:
            await stage
        except Exception as error:
            logger.exception("a stage of the pipeline failed")
            self._crash(error)

    async def _classify(self) -> None:
        """The model's stage."""
        while True:
            events = await self._batcher.next_batch()
            self._classified.put_nowait(await self._answered(events))

    async def _answered(self, events: Sequence[Event]) -> Classified:
        """By the model of this moment, which is let go of with the last line."""
        loop, model = asyncio.get_running_loop(), self._model
        answers = await loop.run_in_executor(self._engine, self._answers, model.classifier, events)
        return events, answers, model.analysis

    def _answers(self, classifier: Classifier, events: Sequence[Event]) -> list[Answer]:
        """One an event, on the engine's thread."""
        with self._metrics.stage("classify"):
            answers = self._classifications(classifier, events)
        tokens = sum(answer.tokens for answer in answers if isinstance(answer, Classification))
        self._metrics.batch_records.observe(len(events))
        self._metrics.batch_tokens.observe(tokens)
        return answers

    def _classifications(self, classifier: Classifier, events: Sequence[Event]) -> list[Answer]:
        """Classify; a batch on which the model raises is halved down to the culprit."""
        texts = [event.record.text for event in events]
        kinds = [event.record.kind for event in events]
        languages = [event.record.language for event in events]
        try:
            return [*classifier.classify(texts, kinds, languages=languages)]
        except Exception as error:
            if len(events) == 1:
                return [error]
            middle = len(events) // 2
            return [
                *self._classifications(classifier, events[:middle]),
                *self._classifications(classifier, events[middle:]),
            ]

    def _reject_for_model(self, event: Event, error: Exception) -> None:
        name = type(error).__name__
        logger.error("the model failed on one record: %s", name)
        message = f"the model could not judge this text ({name})"
        self._reject(event.incoming, event.ticket, Reason.MODEL_ERROR, message)

    async def _judge(self) -> None:
        """Redis' stage, after the analysis of the answers, for which the model does not wait.

        An empty call now and then resolves alerts that are over.
        """
        while True:
            batch = Batch(await self._next_analysed())
            with self._metrics.stage("judge"):
                verdict = await self._verdict([event.judged for event in batch.events])
            batch.raised = [alert for alerts in verdict.raised for alert in alerts]
            # Redis offers resolved alerts again until they are settled: one offer is enough.
            if not self._resolving:
                batch.resolved = list(verdict.resolved)
                self._resolving = bool(batch.resolved)
            if batch.events or batch.resolved:
                self._alerted.put_nowait(batch)

    async def _next_analysed(self) -> list[AnalysedEvent]:
        """The next batch; none when the model had nothing to do for a while."""
        try:
            async with asyncio.timeout(IDLE_JUDGE_SECONDS):
                classified = await self._classified.get()
        except TimeoutError:
            return []
        with self._metrics.stage("analyse"):
            return self._analysed(*classified)

    def _analysed(
        self, events: Sequence[Event], answers: Sequence[Answer], analysis: Analysis
    ) -> list[AnalysedEvent]:
        self._parts.drift.add(a for a in answers if isinstance(a, Classification))
        analysed = []
        for event, answer in zip(events, answers, strict=True):
            if isinstance(answer, Exception):
                self._reject_for_model(event, answer)
            else:
                analysed.append(analysis.analysed(event, answer))
        return analysed

    async def _verdict(self, events: Sequence[Judged]) -> Verdict:
        async for attempt in pauses():
            now = datetime.now(UTC)
            try:
                verdict = await self._parts.alerts.judge(events, now)
            except (RedisError, OSError) as error:
                self._metrics.sink_retries.labels("redis").inc()
                if attempt % 10 == 0:
                    logger.warning("Redis does not take alerts (%s); trying again", error)
            else:
                break
        for alert in verdict.fresh:
            self._metrics.alerts.labels(alert.rule).inc()
        return verdict

    async def _store(self) -> None:
        """Elasticsearch's stage; what it has confirmed is acknowledged.

        A request costs the server much more than a document, so there are not too many a second.
        """
        next_at = monotonic()
        while True:
            await asyncio.sleep(next_at - monotonic())
            batch = Batch.joined(await _all_waiting(self._alerted))
            next_at = monotonic() + STORE_INTERVAL_SECONDS
            with self._metrics.stage("store"):
                rejections = await self._written(batch)
            await self._settle(batch)
            self._finish_batch(batch, rejections)

    async def _written(self, batch: Batch) -> dict[int, Rejection]:
        changes = [
            *(analysed.change for analysed in batch.events),
            *(alert_change(alert, self._prefix) for alert in (*batch.raised, *batch.resolved)),
        ]
        stored = await self._parts.documents.put(changes)
        if newer := await overtaken(batch.events, stored.idle, self._parts.documents):
            await self._verdict(newer)
        return {rejection.position: rejection for rejection in stored.rejections}

    async def _settle(self, batch: Batch) -> None:
        """Tell Redis that resolutions are stored; where it is away it offers them again."""
        if not batch.resolved:
            return
        try:
            await self._parts.alerts.settled(batch.resolved)
        except (RedisError, OSError) as error:
            logger.warning("Redis did not take that alerts are settled: %s", error)
        self._resolving = False

    def _finish_batch(self, batch: Batch, rejections: dict[int, Rejection]) -> None:
        for position, analysed in enumerate(batch.events):
            event = analysed.event
            rejection = rejections.get(position)
            if rejection:
                reason = Reason.REJECTED_BY_INDEX
                self._reject(event.incoming, event.ticket, reason, rejection.message)
            else:
                self._metrics.documents.labels(event.record.kind.stream).inc()
                self._finish(event.incoming, event.ticket)
        for position in rejections.keys() - range(len(batch.events)):
            logger.error("the index refused an alert: %s", rejections[position].message)

    async def _bury(self) -> None:
        """The dead letters' stage; a bad record never stops a good one."""
        while True:
            waiting = await _all_waiting(self._rejected)
            await self._parts.dead_letters.write([letter for _, _, letter in waiting])
            for incoming, ticket, letter in waiting:
                self._metrics.dead_letters.labels(letter.reason).inc()
                self._finish(incoming, ticket)


async def _all_waiting(queue: asyncio.Queue[T]) -> list[T]:
    """All that is in the queue, oldest first; waits until there is something."""
    waiting = [await queue.get()]
    while not queue.empty():
        waiting.append(queue.get_nowait())
    return waiting
