"""Templates of a namespace and new fields for existing indices, on a real Elasticsearch."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from schemas.errors import ServerUnavailable
from schemas.mappings import PROPERTIES
from stream.indices import additions, install_templates, month_of, monthly_indices
from tests.servers import Servers

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[AsyncElasticsearch]:
    client = AsyncElasticsearch(servers.elasticsearch.address, max_retries=0)
    yield client
    await client.close()


async def properties(client: AsyncElasticsearch, index: str) -> dict[str, Any]:
    found = await client.indices.get_mapping(index=index)
    mappings: dict[str, Any] = found[index]["mappings"]
    return mappings


@pytest.mark.parametrize(
    ("index", "prefix", "month"),
    [
        ("alerts-2026.11", "", NOVEMBER),
        ("ns-alerts-2026.11", "ns-", NOVEMBER),
        ("ns-alerts-2026.11", "", None),
        ("alerts-2026.11", "ns-", None),
        ("alerts-alerts-2026.11", "", None),
        ("alerts-2026.13", "", None),
        ("alerts-2026.11-old", "", None),
        ("alerts-2026-11", "", None),
    ],
)
def test_an_index_belongs_to_one_namespace(index: str, prefix: str, month: datetime | None) -> None:
    assert month_of(index, prefix, "alerts") == month


def test_additions_are_only_what_is_missing() -> None:
    keyword, number = {"type": "keyword"}, {"type": "float"}
    inner = {"type": "nested", "dynamic": "strict"}
    wanted = {
        "same": keyword,
        "new": number,
        "changed": number,
        "list": {**inner, "properties": {"old": keyword, "new": keyword}},
        "words": {"type": "text", "fields": {"keyword": keyword}},
        "whole": {"properties": {"old": keyword}},
    }
    present = {
        "same": keyword,
        "changed": keyword,
        "list": {**inner, "properties": {"old": keyword}},
        "words": {"type": "text"},
        "whole": {"properties": {"old": keyword, "own": number}},
        "theirs": keyword,
    }

    added, conflicts = additions(wanted, present)

    assert added == {
        "new": number,
        "list": {**inner, "properties": {"new": keyword}},
        "words": wanted["words"],
    }
    assert conflicts == ["field changed is of type keyword where float is wanted"]


async def test_several_workers_install_at_once(client: AsyncElasticsearch, namespace: str) -> None:
    prefix = f"{namespace}-"
    await asyncio.gather(*(install_templates(client, prefix) for _ in range(4)))
    index = f"{prefix}financial-news-2026.11"
    await client.index(index=index, id="a", document={"id": "a", "headline": "Rates rise"})

    found = await properties(client, index)
    assert found["dynamic"] == "strict"
    assert additions(PROPERTIES["financial-news"], found["properties"]) == ({}, [])
    assert await client.indices.exists_alias(name=f"{prefix}financial-news", index=index)


async def test_replicas_are_a_setting(client: AsyncElasticsearch, namespace: str) -> None:
    await install_templates(client, f"{namespace}-", replicas=2)
    found = await client.indices.get_index_template(name=f"{namespace}-alerts")
    settings = found["index_templates"][0]["index_template"]["template"]["settings"]
    assert settings["index"]["number_of_replicas"] == "2"


async def test_an_existing_index_gains_fields_and_loses_nothing(
    client: AsyncElasticsearch, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    index = f"{namespace}-alerts-2026.11"
    older = {"id": {"type": "keyword"}, "risk": {"type": "keyword"}, "own": {"type": "date"}}
    await client.indices.create(index=index, mappings={"properties": older})
    await client.index(index=index, id="a", document={"id": "a", "risk": "high"})

    with caplog.at_level(logging.WARNING, "stream.indices"):
        await install_templates(client, f"{namespace}-")
        await install_templates(client, f"{namespace}-")

    found = await properties(client, index)
    assert found["dynamic"] == "strict"
    assert found["properties"].items() > (older | {"rule": PROPERTIES["alerts"]["rule"]}).items()
    assert "field risk is of type keyword where float is wanted" in caplog.messages[0]
    assert (await client.get(index=index, id="a"))["_source"]["risk"] == "high"
    assert list(await monthly_indices(client, f"{namespace}-", "alerts")) == [index]


async def test_another_namespace_is_left_alone(client: AsyncElasticsearch, namespace: str) -> None:
    """Also one whose name begins as an index of ours does."""
    ours, theirs = f"{namespace}-", f"{namespace}-alerts-"
    await client.indices.create(index=f"{theirs}alerts-2026.11")

    await install_templates(client, ours)
    assert "properties" not in await properties(client, f"{theirs}alerts-2026.11")
    await install_templates(client, theirs)
    await client.index(index=f"{theirs}alerts-2026.12", document={"id": "a"})

    assert await monthly_indices(client, ours, "alerts") == {}
    aliases = await client.indices.get_alias(index=f"{theirs}alerts-2026.12")
    assert list(aliases[f"{theirs}alerts-2026.12"]["aliases"]) == [f"{theirs}alerts"]


async def test_a_server_that_is_away_is_said_in_words() -> None:
    client = AsyncElasticsearch("http://127.0.0.1:1", max_retries=0)
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        await install_templates(client, "")
    await client.close()
