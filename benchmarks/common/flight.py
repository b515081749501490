"""Events that are sent by a schedule, and when each is seen as an alert and as a document.

The schedule is made beforehand and waits for nothing. All instants are seconds of one clock
(time.perf_counter) in one process.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from elasticsearch import AsyncElasticsearch

from benchmarks.common.corpus import Event
from schemas.alerts import Status
from schemas.documents import index_name
from stream.alert_store import AlertStore
from stream.clients import kafka_options, make_elasticsearch, make_redis
from stream.settings import Settings

# For the watchers to be there before the first event, and for the last events to arrive.
HEAD_SECONDS, TAIL_SECONDS = 1.0, 15.0
LOOK_SECONDS = 0.05

Plan = Sequence[tuple[float, Event]]


@dataclass(frozen=True, slots=True)
class Flight:
    """What happened to each event, by its id; `due` is when it was to be sent."""

    alerting: Collection[str]
    watched: Collection[str]
    due: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    alerted: dict[str, float] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)

    def milliseconds(self, seen: Mapping[str, float]) -> list[float]:
        """How long after each was due it was seen."""
        return [1000 * (at - self.due[event_id]) for event_id, at in seen.items()]

    @property
    def missing(self) -> int:
        """Alerts and documents that should have been seen and were not."""
        alerts = sum(event_id not in self.alerted for event_id in self.alerting)
        return alerts + sum(event_id not in self.stored for event_id in self.watched)


class Observatory:
    """Sends and watches one flight on the servers of the settings."""

    def __init__(self, settings: Settings, flight: Flight) -> None:
        self._settings = settings
        self._flight = flight
        self._not_stored: dict[str, str] = {}  # sent and watched, with the index of each
        self._landed = asyncio.Event()

    async def fly(self, plan: Plan) -> None:
        """Send every event of the plan at its second; return when all are seen, or lost."""
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(self._watch_alerts()),
                group.create_task(self._watch_documents()),
            ]
            await self._send(plan)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._landed.wait(), TAIL_SECONDS)
            for watcher in watchers:
                watcher.cancel()

    async def _send(self, plan: Plan) -> None:
        producer = AIOKafkaProducer(**kafka_options(self._settings), acks="all", linger_ms=0)
        await producer.start()
        try:
            start = time.perf_counter() + HEAD_SECONDS
            self._flight.due.update({event.id: start + second for second, event in plan})
            confirmations = []
            for _, event in plan:
                await asyncio.sleep(max(0.0, self._flight.due[event.id] - time.perf_counter()))
                confirmations.append(await self._hand_over(producer, event))
            await asyncio.gather(*confirmations)
        finally:
            await producer.stop()

    async def _hand_over(self, producer: AIOKafkaProducer, event: Event) -> Any:
        now = datetime.now(UTC)
        topic, value = event.record(now)
        if event.id in self._flight.watched:
            self._not_stored[event.id] = index_name(self._settings.prefix, topic, now)
        self._flight.sent[event.id] = time.perf_counter()
        return await producer.send(self._settings.topic(topic), value)

    async def _watch_alerts(self) -> None:
        redis = make_redis(self._settings)
        try:
            async for entry in AlertStore(redis, self._settings.prefix).watch():
                event_id = entry.alert.event_id
                if entry.alert.status is Status.FIRING and event_id in self._flight.due:
                    self._flight.alerted.setdefault(event_id, time.perf_counter())
                    self._look_for_the_end()
        finally:
            await redis.aclose()

    async def _watch_documents(self) -> None:
        client = make_elasticsearch(self._settings)
        try:
            while True:
                look_again_at = time.perf_counter() + LOOK_SECONDS
                await self._look(client)
                await asyncio.sleep(max(0.0, look_again_at - time.perf_counter()))
        finally:
            await client.close()

    async def _look(self, client: AsyncElasticsearch) -> None:
        """Ask for those that were sent and not seen yet."""
        wanted = [{"_index": index, "_id": id_} for id_, index in self._not_stored.items()]
        if not wanted:
            return
        answer = await client.mget(docs=wanted, source=False)
        seen_at = time.perf_counter()
        for document in answer["docs"]:
            if document.get("found"):
                self._flight.stored[document["_id"]] = seen_at
                del self._not_stored[document["_id"]]
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if len(self._flight.sent) == len(self._flight.due) and not self._flight.missing:
            self._landed.set()
