"""Counts the documents of the demo in Elasticsearch."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from elasticsearch import AsyncElasticsearch

from ops.demo.figures import Counts
from schemas.records import Kind

FIELDS = {Kind.NEWS: ("sentiment", "topic"), Kind.MESSAGE: ("sentiment", "intent")}
MOST_LABELS = 100


async def count_documents(client: AsyncElasticsearch, prefix: str) -> dict[str, Counts]:
    """By stream; a stream that has no index yet counts 0."""
    return {
        kind.stream: await _count(client, f"{prefix}{kind.stream}", fields)
        for kind, fields in FIELDS.items()
    }


async def _count(client: AsyncElasticsearch, alias: str, fields: Sequence[str]) -> Counts:
    answer: Any = await client.search(
        index=alias,
        size=0,
        track_total_hits=True,
        ignore_unavailable=True,
        aggs={name: {"terms": {"field": f"{name}.label", "size": MOST_LABELS}} for name in fields},
    )
    found = answer.get("aggregations", {})
    return Counts(
        total=answer["hits"]["total"]["value"],
        labels={name: _labels(found[name]) for name in fields if name in found},
    )


def _labels(terms: Any) -> Counter[str]:
    return Counter({bucket["key"]: bucket["doc_count"] for bucket in terms["buckets"]})
