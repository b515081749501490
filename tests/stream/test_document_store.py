"""Documents that come again, on a real Elasticsearch: the newest record, whole, and nobody's change
lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from schemas.documents import Change, Place, record_change
from schemas.origins import Origin
from schemas.records import NewsRecord
from stream import document_store
from stream.document_store import DocumentStore
from stream.indices import install_templates
from tests.servers import Servers
from tests.stream.alert_events import START
from tests.stream.elastic_proxy import Retries, proxy

MONTH = "financial-news-2026.11"


@pytest.fixture
async def client(servers: Servers, namespace: str) -> AsyncIterator[AsyncElasticsearch]:
    client = AsyncElasticsearch(servers.elasticsearch.address)
    await install_templates(client, f"{namespace}-")
    yield client
    await client.close()


@pytest.fixture
def store(client: AsyncElasticsearch) -> DocumentStore:
    return DocumentStore(client, lambda: None)


def version(namespace: str, name: str, offset: int, **fields: Any) -> Change:
    """What a record at an offset becomes: odd ones have a body and no address."""
    text = f"{name} at {offset}"
    given = {"body": text} if offset % 2 else {"url": text}
    record = NewsRecord(
        id=name, published_at=START, headline=text, source="wire", **{**given, **fields}
    )
    origin = Origin("news", 0, offset)
    doc = record.model_dump(mode="json", exclude_none=True) | origin.fields()
    return record_change(record, doc, origin, f"{namespace}-")


async def found(client: AsyncElasticsearch, namespace: str) -> dict[str, dict[str, Any]]:
    index = f"{namespace}-{MONTH}"
    await client.indices.refresh(index=index)
    hits = (await client.search(index=index, size=10_000))["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


def bodies(documents: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str | None, str | None]]:
    return {
        name: (doc["headline"], doc.get("body"), doc.get("url")) for name, doc in documents.items()
    }


async def test_a_document_is_the_newest_record_in_whatever_order(
    store: DocumentStore, client: AsyncElasticsearch, namespace: str
) -> None:
    for name, order in {"a": (1, 2), "b": (2, 1), "c": (2, 1, 2), "d": (1, 1)}.items():
        for offset in order:
            assert (await store.put([version(namespace, name, offset)])).rejections == []
    together = [version(namespace, name, offset) for name in "ef" for offset in (2, 3, 1)]
    assert (await store.put(together)).rejections == []
    assert bodies(await found(client, namespace)) == {
        **{name: (f"{name} at 2", None, f"{name} at 2") for name in "abc"},
        "d": ("d at 1", "d at 1", None),
        **{name: (f"{name} at 3", f"{name} at 3", None) for name in "ef"},
    }


async def test_it_says_which_changes_made_nothing_of_what_is_there(
    store: DocumentStore, namespace: str
) -> None:
    await store.put([version(namespace, "a", 2)])
    versions = [version(namespace, "a", offset) for offset in (1, 3, 2, 3)]
    assert (await store.put(versions)).idle == {0, 2, 3}
    assert (await store.put([version(namespace, "b", 1)])).idle == set()


async def test_what_comes_again_is_not_touched(
    store: DocumentStore, client: AsyncElasticsearch, namespace: str
) -> None:
    await store.put([version(namespace, "a", 2)])
    before = await client.get(index=f"{namespace}-{MONTH}", id="a")
    await store.put([version(namespace, "a", 1), version(namespace, "a", 2)])
    after = await client.get(index=f"{namespace}-{MONTH}", id="a")
    assert (after["_version"], after["_source"]) == (before["_version"], before["_source"])


async def test_new_documents_cost_one_request(
    servers: Servers, client: AsyncElasticsearch, namespace: str
) -> None:
    asked: list[str] = []

    async def noted(request: web.Request, response: web.Response) -> web.Response:
        asked.append(request.path)
        return response

    async with proxy(servers.elasticsearch, noted) as through:
        store = DocumentStore(through, lambda: None)
        await store.put([version(namespace, f"n{i}", 1) for i in range(500)])
        assert asked == ["/_bulk"]
        await store.put([version(namespace, f"n{i}", 1) for i in range(500)])
        assert asked.count("/_mget") == 2  # pages
    assert len(await found(client, namespace)) == 500


async def test_workers_and_people_lose_nothing_to_each_other(
    client: AsyncElasticsearch, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers hold all versions, each in an order of its own, while labels are given."""
    monkeypatch.setattr(document_store, "_PAGE", 7)
    names = [f"n{i}" for i in range(20)]
    versions = [version(namespace, name, offset) for name in names for offset in range(1, 7)]

    async def work(seed: int) -> None:
        order = random.Random(seed).sample(versions, len(versions))
        store = DocumentStore(client, lambda: None)
        for first in range(0, len(order), 10):
            assert (await store.put(order[first : first + 10])).rejections == []

    def labelled(document: Any, label: str) -> dict[str, Any]:
        return {**document, "human_labels": [*document.get("human_labels", ()), label]}

    async def give(label: str) -> None:
        store = DocumentStore(client, lambda: None)
        await store.put([version(namespace, name, 0) for name in names])
        places = [Place(f"{namespace}-{MONTH}", name) for name in names]
        changes = [Change(p, {}, lambda doc: labelled(doc, label)) for p in places]
        assert (await store.revise(changes)).rejections == []

    await asyncio.gather(*map(work, range(3)), *map(give, "xyz"))
    documents = await found(client, namespace)
    assert bodies(documents) == {name: (f"{name} at 6", None, f"{name} at 6") for name in names}
    assert all(sorted(doc["human_labels"]) == [*"xyz"] for doc in documents.values())


async def test_lost_and_wrong_answers_put_nothing_old_back(
    servers: Servers, client: AsyncElasticsearch, namespace: str
) -> None:
    chance, retries = random.Random(7), Retries()

    async def spoilt(request: web.Request, response: web.Response) -> web.Response:
        assert isinstance(response.body, bytes)
        if chance.random() < 0.2:
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        answer = orjson.loads(response.body)
        for item in answer.get("items", ()):
            if chance.random() < 0.2:
                item[next(iter(item))] = {"status": 429, "error": {"type": "busy", "reason": ""}}
        response.body = orjson.dumps(answer)
        return response

    versions = [version(namespace, f"n{i}", offset) for i in range(9) for offset in (1, 2, 3)]
    async with proxy(servers.elasticsearch, spoilt) as through:
        store = DocumentStore(through, retries)
        for seed in range(3):
            order = random.Random(seed).sample(versions, len(versions))
            assert (await store.put(order)).rejections == []
    assert retries.count > 3
    wanted = {f"n{i}": (f"n{i} at 3", f"n{i} at 3", None) for i in range(9)}
    assert bodies(await found(client, namespace)) == wanted


def unmapped(change: Change) -> Change:
    """It does not fit the mapping."""
    return replace(
        change,
        doc={**change.doc, "risk": "much"},
        onto=lambda stored: {**change.onto(stored), "risk": "much"},
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
async def test_a_version_that_is_refused_takes_no_other_along(
    store: DocumentStore, client: AsyncElasticsearch, namespace: str, order: Sequence[int]
) -> None:
    for name, bad in {"last": 2, "first": 0, "middle": 1}.items():
        versions = [version(namespace, name, offset) for offset in range(3)]
        versions[bad] = unmapped(versions[bad])
        refused = (await store.put([versions[i] for i in order])).rejections
        assert {order[each.position] for each in refused} <= {bad}
        assert bool(refused) or bad < 2  # what is overtaken need not be tried
        assert all("[risk]" in each.message for each in refused)
    headlines = {name: doc["headline"] for name, doc in (await found(client, namespace)).items()}
    assert headlines == {"last": "last at 1", "first": "first at 2", "middle": "middle at 2"}


async def test_what_is_deleted_meanwhile_is_stored_but_not_revised(
    servers: Servers, client: AsyncElasticsearch, namespace: str
) -> None:
    index = f"{namespace}-{MONTH}"
    await DocumentStore(client, lambda: None).put([version(namespace, n, 1) for n in "ab"])

    async def deleting(request: web.Request, response: web.Response) -> web.Response:
        """After it was seen, and after it was read."""
        for name, path in (("a", "/_bulk"), ("b", "/_mget")):
            if request.path == path and await client.exists(index=index, id=name):
                await client.delete(index=index, id=name)
        return response

    async with proxy(servers.elasticsearch, deleting) as through:
        store = DocumentStore(through, lambda: None)
        await store.put([version(namespace, n, 2) for n in "ab"])
        documents = await found(client, namespace)
        assert {doc["headline"] for doc in documents.values()} <= {"a at 2", "b at 2"}
    for name in documents:
        await client.delete(index=index, id=name)
    stored = await DocumentStore(client, lambda: None).revise([version(namespace, "a", 3)])
    assert stored.rejections == []
    assert await found(client, namespace) == {}
