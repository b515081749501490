"""Taking documents away: old months by `prune`, one customer by `forget`.

Both may be repeated, also after they were interrupted, and say what they removed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from elasticsearch import AsyncElasticsearch

from schemas.errors import RecordRejected
from schemas.labels import parse_label_key
from schemas.mappings import ALERTS, PROPERTIES
from schemas.records import Kind
from stream.alert_store import AlertStore
from stream.brokers import confirmed_producer
from stream.bulk import pages, send_bulk
from stream.clients import make_elasticsearch
from stream.elastic_errors import expected_to_answer
from stream.indices import month_of, monthly_indices
from stream.redis_session import redis_session
from stream.settings import Settings
from stream.topic_reader import read_topic
from stream.topics import LABELS
from stream.wording import counted

_PAGE = 1_000
_TOMBSTONE_BYTES = 16 * 1024  # a key of four quoted names

Hit = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget` removed: messages, the alerts they raised, and labels of their texts.

    `alerts` counts documents; the same alerts went from Redis. `trimmed` counts alerts of others
    that had ids of these messages among the events behind them, and have no longer.
    """

    messages: int = 0
    alerts: int = 0
    trimmed: int = 0
    labels: int = 0

    def __str__(self) -> str:
        verb = "names" if self.trimmed == 1 else "name"
        return (
            f"removed: {counted(self.messages, 'message')}, {counted(self.alerts, 'alert')}, "
            f"{counted(self.labels, 'label')}; "
            f"{counted(self.trimmed, 'alert')} of others no longer {verb} them"
        )


async def prune(
    settings: Settings, older_than: timedelta, *, now: datetime, dry_run: bool = False
) -> list[str]:
    """Delete the indices of whole months that ended `older_than` ago; return their names, sorted.

    With `dry_run` it only names them. Indices of other namespaces, and those that merely resemble
    ours, stay. Raises ServerUnavailable.
    """
    async with _elasticsearch(settings) as client:
        names = [
            name
            for base in PROPERTIES
            for name in await monthly_indices(client, settings.prefix, base, closed=True)
            if _ended(month_of(name, settings.prefix, base), now - older_than)
        ]
        if not dry_run:
            for name in names:
                await client.indices.delete(index=name, ignore_unavailable=True)
    return sorted(names)


async def forget(settings: Settings, customer_id: str) -> Forgotten:
    """Remove the messages of a customer, the alerts they raised, and the labels of their texts.

    The messages go last, since they tell which alerts and labels are the customer's: an
    interrupted run is completed by the next. Out of reach are the source topics, feedback and dead
    letters, which Kafka keeps for their retention, messages that are under way at this moment,
    labels of messages that were never indexed, and what a model has learnt. Raises
    ServerUnavailable, and BellwetherError where a server kept what it was to delete.
    """
    async with _elasticsearch(settings) as client:
        messages = await _messages(client, settings.prefix, customer_id)
        if not messages:
            return Forgotten()
        event_ids = {hit["_id"] for hit in messages}
        labels = await _erase_labels(settings, event_ids)
        async with redis_session(settings) as redis:
            store = AlertStore(redis, settings.prefix)
            await store.forget(Kind.MESSAGE.stream, event_ids)
        alerts, trimmed = await _forget_alerts(client, settings.prefix, event_ids)
        await send_bulk(client, map(_deletion, messages))
    return Forgotten(len(event_ids), alerts, trimmed, labels)


@asynccontextmanager
async def _elasticsearch(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            yield client
    finally:
        await client.close()


def _ended(month: datetime | None, by: datetime) -> bool:
    """Whether a month, given by its first instant, was over at a time."""
    return month is not None and (month + timedelta(days=32)).replace(day=1) <= by


# Documents


async def _messages(client: AsyncElasticsearch, prefix: str, customer_id: str) -> list[Hit]:
    """The customer's messages without their texts."""
    alias = f"{prefix}{Kind.MESSAGE.stream}"
    await client.indices.refresh(index=alias, ignore_unavailable=True)
    return await _search(client, alias, {"term": {"customer_id": customer_id}}, ["id"])


async def _forget_alerts(
    client: AsyncElasticsearch, prefix: str, event_ids: set[str]
) -> tuple[int, int]:
    """Delete the alerts that these events raised, take the ids out of the others; count both."""
    alias = f"{prefix}{ALERTS}"
    await client.indices.refresh(index=alias, ignore_unavailable=True)
    found: dict[str, Hit] = {}
    for page in pages(sorted(event_ids)):
        behind = {
            "bool": {"should": [{"terms": {"event_id": page}}, {"terms": {"event_ids": page}}]}
        }
        query = {"bool": {"must": behind, "filter": {"term": {"stream": Kind.MESSAGE.stream}}}}
        hits = await _search(client, alias, query, ["event_id", "event_ids"])
        found |= {hit["_id"]: hit for hit in hits}
    raised = [hit for hit in found.values() if hit["_source"]["event_id"] in event_ids]
    others = [hit for hit in found.values() if hit["_source"]["event_id"] not in event_ids]
    await send_bulk(
        client, [*map(_deletion, raised), *(_trimmed(hit, event_ids) for hit in others)]
    )
    return len(raised), len(others)


async def _search(
    client: AsyncElasticsearch, alias: str, query: dict[str, Any], fields: list[str]
) -> list[Hit]:
    """All that a query finds behind an alias, page by page; nothing where there is no index."""
    found: list[Hit] = []
    after: list[Any] | None = None
    while True:
        response = await client.search(
            index=alias,
            query=query,
            source_includes=fields,
            sort=["id", "_index"],  # an id may stand in two months
            search_after=after,
            size=_PAGE,
            ignore_unavailable=True,
        )
        hits: list[Hit] = response["hits"]["hits"]
        found += hits
        if len(hits) < _PAGE:
            return found
        after = hits[-1]["sort"]


def _deletion(hit: Hit) -> bytes:
    return orjson.dumps({"delete": _place(hit)}, option=orjson.OPT_APPEND_NEWLINE)


def _trimmed(hit: Hit, event_ids: set[str]) -> bytes:
    """An update that takes ids out of the events behind an alert."""
    kept = [event_id for event_id in hit["_source"]["event_ids"] if event_id not in event_ids]
    doc = orjson.dumps({"doc": {"event_ids": kept}}, option=orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps({"update": _place(hit)}, option=orjson.OPT_APPEND_NEWLINE) + doc


def _place(hit: Hit) -> dict[str, str]:
    return {"_index": hit["_index"], "_id": hit["_id"]}


# Labels


async def _erase_labels(settings: Settings, event_ids: set[str]) -> int:
    """Send a tombstone for every label of these messages, each confirmed; return how many."""
    living: dict[bytes, int] = {}
    async for record in read_topic(settings, LABELS):
        if record.key is None or not _labels_one_of(record.key, event_ids):
            continue
        if record.value is None:
            living.pop(record.key, None)
        else:
            living[record.key] = record.partition
    if living:
        await _send_tombstones(settings, living)
    return len(living)


def _labels_one_of(key: bytes, event_ids: set[str]) -> bool:
    """Whether a key is that of a label of one of the messages."""
    try:
        label = parse_label_key(key)
    except RecordRejected:
        return False
    return label.task.startswith(f"{Kind.MESSAGE}.") and label.event_id in event_ids


async def _send_tombstones(settings: Settings, keys: dict[bytes, int]) -> None:
    """To the partition where the label stands, as compaction knows a key only within one."""
    topic = settings.topic(LABELS)
    async with confirmed_producer(settings, _TOMBSTONE_BYTES) as producer:
        confirmations = [
            await producer.send(topic, key=key, value=None, partition=partition)
            for key, partition in keys.items()
        ]
        await asyncio.gather(*confirmations)
