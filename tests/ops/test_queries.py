"""Each documented query runs on a real Elasticsearch and finds what it is for."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from stream.indices import install_templates
from tests.servers import Servers

PAGE = Path(__file__).parents[2] / "ops/dashboards/queries.md"
QUERIES = re.findall(r"```console\nGET (\S+)/_search\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[AsyncElasticsearch]:
    client = AsyncElasticsearch(servers.elasticsearch.address, max_retries=0)
    yield client
    await client.close()


def documents(now: str) -> dict[str, dict[str, Any]]:
    answer = {"label": "x", "confidence": 0.4}
    shared = {"id": "1", "risk": 0.9, "model_version": "v1", "classified_at": now}
    origin = {"topic": "financial-news", "partition": 0, "offset": 42}
    news = {
        "published_at": now,
        "headline": "Profit warning at Acme",
        "symbols": ["ACME"],
        "sentiment": {**answer, "value": -0.5},
        "topic": answer,
        "origin": origin,
    }
    message = {"sent_at": now, "text": "Stolen!", "intent": answer, "emotion": {"label": "anger"}}
    own = {"task": "message.urgency", "label": "high", "confidence": 0.9}
    alert = {"id": "1", "status": "firing", "rule": "r", "severity": "info", "event_time": now}
    return {
        "financial-news": shared | news,
        "customer-messages": shared | message | {"tasks": [own]},
        "alerts": alert | {"raised_at": now},
        "drift": {"at": now, "task": "news.topic", "labels": [{"label": "macro", "texts": 3}]},
    }


async def test_each_query_finds_something(client: AsyncElasticsearch, namespace: str) -> None:
    await install_templates(client, f"{namespace}-")
    now = datetime.now(UTC)
    for base, document in documents(now.isoformat()).items():
        index = f"{namespace}-{base}-{now:%Y.%m}"
        await client.index(index=index, id="1", document=document, refresh=True)

    assert len(QUERIES) == PAGE.read_text().count("```console")
    for aliases, body in QUERIES:
        index = ",".join(f"{namespace}-{alias}" for alias in aliases.split(","))
        found = await client.search(index=index, body=json.loads(body))
        assert found["hits"]["total"]["value"] == 1, body
        for name, aggregation in found.get("aggregations", {}).items():
            assert aggregation["buckets"], name
