"""Random records of Kafka, and not only random values, at the way in: none gets past the net."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from elasticsearch import AsyncElasticsearch
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from ops.servers.ports import free_port
from schemas.dead_letters import DeadLetter
from schemas.errors import Reason
from schemas.sources import load_sources
from stream.alert_store import AlertStore
from stream.app import _pump
from stream.classifiers import load_model
from stream.dead_letters import DeadLetterWriter
from stream.document_store import DocumentStore
from stream.drift import DriftWatch
from stream.events import Incoming
from stream.metrics import Metrics
from stream.pipeline import Parts, Pipeline
from stream.settings import load_settings
from stream.unreadable import UnreadableBatch

TEXTS = st.text(max_size=40)
TIMES = st.sampled_from(["2026-11-22T06:10:00Z", "1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
NEWS = st.fixed_dictionaries(
    {"id": TEXTS, "published_at": TIMES, "headline": TEXTS, "source": TEXTS},
    optional={"symbols": st.lists(TEXTS, max_size=3), "language": TEXTS, "mood": TEXTS},
)
UNREADABLE = st.binary(max_size=20).map(lambda data: UnreadableBatch.of(data, "cannot be read"))
VALUES = st.none() | st.binary(max_size=200) | UNREADABLE | NEWS.map(orjson.dumps)
STAMPS = st.none() | st.floats() | st.integers(-(2**63), 2**63 - 1).map(lambda ms: ms / 1000)
HEADERS = st.none() | st.lists(st.tuples(TEXTS, st.none() | st.binary(max_size=20)), max_size=3)
OFFSETS = st.integers(0, 2**63 - 1)
MESSAGES = st.builds(
    ConsumerMessage,
    topic=st.sampled_from(["financial-news", "somebody's topic \u20ac"]),
    partition=st.integers(0, 2**31 - 1),
    offset=OFFSETS,
    timestamp=STAMPS,
    timestamp_type=st.none() | st.integers(-1, 2),
    headers=HEADERS,
    key=st.none() | st.binary(max_size=300),
    value=VALUES,
    checksum=st.none() | st.integers(),
    tp=st.just(TP("financial-news", 0)),
    generation_id=st.none() | st.integers(-1, 2**31 - 1),
)


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(None, load_settings(), threads=1)


def pipeline_of(model: Any, crashes: list[BaseException]) -> Pipeline:
    """None of its servers is there, and none is needed for the way in."""
    given, metrics = load_settings(), Metrics()
    away = AsyncElasticsearch(f"http://127.0.0.1:{free_port()}")
    parts = Parts(
        alerts=AlertStore(Redis(port=free_port()), given.prefix),
        documents=DocumentStore(away, lambda: None),
        dead_letters=DeadLetterWriter(given, lambda: None),
        drift=DriftWatch(model.classifier, away, metrics, given.prefix),
        metrics=metrics,
    )
    return Pipeline(given, model, parts, crashes.append)


class Stream:
    """Events as Faust hands them to an agent."""

    def __init__(self, messages: list[ConsumerMessage]) -> None:
        self._messages = messages

    def noack(self) -> "Stream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        for message in self._messages:
            yield SimpleNamespace(message=message, ack=lambda: None)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=st.lists(MESSAGES, min_size=1, max_size=8))
def test_each_is_an_event_or_a_dead_letter(model: Any, messages: list[ConsumerMessage]) -> None:
    asyncio.run(_taken(model, messages))


async def _taken(model: Any, messages: list[ConsumerMessage]) -> None:
    crashes: list[BaseException] = []

    async def crash(error: BaseException) -> None:
        crashes.append(error)

    (source,) = [one for one in load_sources() if one.topic == "financial-news"]
    pipeline = pipeline_of(model, crashes)

    async def submit(incoming: Incoming) -> None:
        await pipeline.submit(source, incoming)

    await _pump(SimpleNamespace(crash=crash), submit)(Stream(messages))  # type: ignore[arg-type]
    assert not crashes
    rejected = [pipeline._rejected.get_nowait() for _ in range(pipeline._rejected.qsize())]
    batch = await pipeline._batcher.next_batch() if len(rejected) < len(messages) else []
    assert len(rejected) + len(batch) == len(messages)
    for event in batch:
        model.analysis._is_old(event)
    for incoming, _, letter in rejected:
        assert letter.reason in Reason
        sent = letter.fitted()
        back = DeadLetter.from_kafka(sent.key, sent.value, sent.headers())
        assert back.identity == (incoming.topic, incoming.partition, incoming.offset)
