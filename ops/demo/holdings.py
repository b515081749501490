"""Reads from the servers, once all is done, what they hold of the demo."""

from collections.abc import Mapping
from typing import Any

from elasticsearch import AsyncElasticsearch

from ops.demo.documents import count_documents
from ops.demo.expectations import Holdings
from ops.demo.figures import Figures
from schemas.alerts import Alert
from schemas.errors import Reason
from schemas.mappings import ALERTS
from stream.alert_store import AlertStore
from stream.clients import make_elasticsearch
from stream.dead_letter_box import Wanted, list_letters
from stream.elastic_errors import expected_to_answer
from stream.redis_session import redis_session
from stream.settings import Settings

MOST_ALERTS = 10_000


async def read_holdings(settings: Settings, figures: Figures) -> Holdings:
    """Documents and alerts from Elasticsearch, active alerts from Redis, dead letters from Kafka;
    the figures tell which alerts went through the stream in Redis, and get the last counts.

    Raises ServerUnavailable.
    """
    stored = await _from_elasticsearch(settings, figures)
    in_redis = [*figures.raised, *figures.resolved, *await _active(settings)]
    ids = {alert.id for alert in stored}
    return Holdings(
        documents={stream: counts.total for stream, counts in figures.counts.items()},
        dead_letters=await _letters(settings),
        alerts=[*stored, *in_redis],
        alerts_without_document=sorted({alert.id for alert in in_redis} - ids),
    )


async def _from_elasticsearch(settings: Settings, figures: Figures) -> list[Alert]:
    """Its alerts; a refresh first, so that searches see everything."""
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            await client.indices.refresh(index=f"{settings.prefix}*", allow_no_indices=True)
            figures.counts = await count_documents(client, settings.prefix)
            return await _alerts(client, f"{settings.prefix}{ALERTS}")
    finally:
        await client.close()


async def _alerts(client: AsyncElasticsearch, alias: str) -> list[Alert]:
    answer: Any = await client.search(index=alias, size=MOST_ALERTS, ignore_unavailable=True)
    return [Alert.model_validate(hit["_source"]) for hit in answer["hits"]["hits"]]


async def _active(settings: Settings) -> list[Alert]:
    async with redis_session(settings) as redis:
        return await AlertStore(redis, settings.prefix).active()


async def _letters(settings: Settings) -> Mapping[Reason, int]:
    return (await list_letters(settings, Wanted(), limit=1)).by_reason
