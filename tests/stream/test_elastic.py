"""The sink on a real Elasticsearch: what is refused, what is waited out, what must not be lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from ops.servers import Elasticsearch
from ops.servers.guard import Guard
from schemas.documents import Version, Write
from stream.elastic import ElasticSink, Rejection
from tests.servers import TEST_HEAP_MB, install, running
from tests.stream.elastic_proxy import MEBIBYTE, Retries, proxy

MAPPINGS = {
    "dynamic": "strict",
    "properties": {
        "text": {"type": "text"},
        "risk": {"type": "float"},
        "status": {"type": "keyword"},
        "human": {"properties": {"topic": {"type": "keyword"}}},
    },
}


class SmallRequests(Elasticsearch):
    """A node that takes requests of 1 MiB at most."""

    def _settings(self) -> dict[str, object]:
        return super()._settings() | {"http.max_content_length": "1mb"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[Elasticsearch]:
    """A node of this module's own, since it is stopped and its limits are changed."""
    install()
    node = SmallRequests(tmp_path_factory.mktemp("elastic") / "node", heap_mb=TEST_HEAP_MB)
    with running(guard, node):
        yield node


@pytest.fixture
async def client(node: Elasticsearch) -> AsyncIterator[AsyncElasticsearch]:
    client = AsyncElasticsearch(node.address, max_retries=0)
    yield client
    await client.close()


@pytest.fixture
async def index(client: AsyncElasticsearch, namespace: str) -> str:
    """An index with a strict mapping, in a namespace of its own with a template for more."""
    template = {"settings": {"number_of_replicas": 0}, "mappings": MAPPINGS}
    await client.indices.put_index_template(
        name=namespace, index_patterns=[f"{namespace}-*"], template=template
    )
    name = f"{namespace}-notes-2026.11"
    await client.indices.create(index=name)
    return name


@pytest.fixture
def retries() -> Retries:
    return Retries()


@pytest.fixture
def sink(client: AsyncElasticsearch, retries: Retries) -> ElasticSink:
    return ElasticSink(client, retries)


def notes(index: str, count: int, text: str = "the bank raised its rates") -> list[Write]:
    return [Write(index, f"note-{number}", {"text": text}) for number in range(count)]


def refused(rejections: Sequence[Rejection]) -> list[Rejection]:
    """Without those that are there already, as after a lost answer."""
    return [rejection for rejection in rejections if not rejection.conflict]


async def stored(client: AsyncElasticsearch, index: str) -> dict[str, dict[str, Any]]:
    """Id to source of all documents of an index."""
    await client.indices.refresh(index=index)
    found = await client.search(index=index, size=10_000)
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


async def until_refused(sink: ElasticSink, writes: Sequence[Write], retries: Retries) -> Any:
    """Start a write that cannot succeed now, and wait until it was tried again."""
    writing = asyncio.create_task(sink.write(writes))
    async with asyncio.timeout(20):
        await retries.reached(3)
    assert not writing.done()
    return writing


# What is refused


async def test_good_neighbours_of_a_bad_document_are_stored(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    writes = notes(index, 50)
    writes[7] = Write(index, "unmapped", {"text": "fine", "colour": "red"})
    writes[30] = Write(index, "mistyped", {"text": "fine", "risk": "very secret words"})
    writes[31] = Write(index, "structured", {"text": {"nested": "object"}})

    rejections = await sink.write(writes)

    assert [rejection.position for rejection in rejections] == [7, 30, 31]
    assert "[colour]" in rejections[0].message
    assert "strict_dynamic_mapping_exception" in rejections[0].message
    assert "failed to parse field [risk] of type [float]" in rejections[1].message
    assert "secret" not in rejections[1].message
    assert len(await stored(client, index)) == 47
    assert retries.count == 0


@pytest.mark.parametrize("position", [0, 63, 99])
async def test_an_id_that_fails_the_whole_request_is_found_by_halving(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries, position: int
) -> None:
    writes = notes(index, 100)
    writes[position] = Write(index, "x" * 513, {"text": "fine"})

    rejections = await sink.write(writes)

    assert [rejection.position for rejection in rejections] == [position]
    assert "is too long, must be no longer than 512 bytes" in rejections[0].message
    assert len(await stored(client, index)) == 99
    assert retries.count == 0


async def test_requests_that_are_too_large_are_halved(
    sink: ElasticSink, client: AsyncElasticsearch, index: str
) -> None:
    writes = notes(index, 10, text="rates " * 50_000)  # 3 MB, of which the node takes 1 at once
    writes[4] = Write(index, "huge", {"text": "x" * 2 * MEBIBYTE})

    rejections = await sink.write(writes)

    assert rejections == [
        Rejection(4, "the document is larger than Elasticsearch takes in one request (HTTP 413)")
    ]
    assert len(await stored(client, index)) == 9


@pytest.mark.parametrize(
    ("doc", "word"),
    [({"text": "\ud800"}, "surrogates"), ({"risk": 2**70}, "64"), ({"text": object()}, "object")],
)
async def test_what_is_no_json_is_refused_before_it_is_sent(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, doc: dict[str, Any], word: str
) -> None:
    writes = [*notes(index, 2), Write(index, "no-json", doc)]

    rejections = await sink.write(writes)

    assert [rejection.position for rejection in rejections] == [2]
    assert word in rejections[0].message
    assert len(await stored(client, index)) == 2


async def test_nothing_to_write(sink: ElasticSink) -> None:
    assert await sink.write([]) == []


# What is stored


async def test_a_document_that_is_there_is_left_and_told(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    assert await sink.write([Write(index, "a", {"text": "first", "risk": 0.5})]) == []
    await client.update(index=index, id="a", doc={"human": {"topic": "Earnings"}})

    writes = [Write(index, name, {"text": "second"}) for name in ("a", "b", "b")]
    rejections = await sink.write(writes)

    assert [(r.position, r.conflict) for r in rejections] == [(0, True), (2, True)]
    assert await stored(client, index) == {
        "a": {"text": "first", "risk": 0.5, "human": {"topic": "Earnings"}},
        "b": {"text": "second"},
    }
    assert retries.count == 0


async def test_two_sinks_writing_the_same_documents_at_once(
    client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    sinks = [ElasticSink(client, retries) for _ in range(4)]

    async def write(number: int) -> list[Rejection]:
        writes = notes(index, 200, text=f"written by sink {number}")
        return await sinks[number].write(writes)

    found = await asyncio.gather(*map(write, range(4)))
    assert all(rejection.conflict for rejections in found for rejection in rejections)
    assert sum(map(len, found)) == 600  # each document is one sink's alone
    assert len(await stored(client, index)) == 200


# What replaces a document


async def test_a_document_is_replaced_whole_if_nobody_changed_it(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    assert await sink.write(notes(index, 3)) == []
    read = await client.mget(index=index, ids=["note-0", "note-1", "note-2"])
    versions = [Version(doc["_seq_no"], doc["_primary_term"]) for doc in read["docs"]]
    await client.update(index=index, id="note-1", doc={"risk": 0.5})

    rejections = await sink.write(
        [
            Write(index, f"note-{number}", {"status": "new"}, replaces=version)
            for number, version in enumerate(versions)
        ]
        + [Write(index, "note-9", {"status": "new"}, replaces=versions[0])]
    )

    assert [(r.position, r.conflict) for r in rejections] == [(1, True), (3, True)]
    found = await stored(client, index)
    assert found["note-0"] == found["note-2"] == {"status": "new"}
    assert found["note-1"] == {"text": "the bank raised its rates", "risk": 0.5}
    assert "note-9" not in found
    assert retries.count == 0


async def test_a_replacement_that_does_not_fit_is_refused_for_good(
    sink: ElasticSink, client: AsyncElasticsearch, index: str
) -> None:
    await sink.write(notes(index, 1))
    read = await client.get(index=index, id="note-0")
    version = Version(read["_seq_no"], read["_primary_term"])

    (rejection,) = await sink.write([Write(index, "note-0", {"colour": "red"}, replaces=version)])

    assert not rejection.conflict
    assert "[colour]" in rejection.message


# What is waited out


async def test_a_write_block_is_waited_out(
    sink: ElasticSink,
    client: AsyncElasticsearch,
    index: str,
    retries: Retries,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = f"{index}-other"
    await client.indices.create(index=other)
    await client.indices.put_settings(index=index, settings={"index.blocks.write": True})
    writes = [*notes(index, 20, text="private words"), *notes(other, 20)]

    with caplog.at_level(logging.WARNING, "stream.elastic"):
        writing = await until_refused(sink, writes, retries)
    assert len(await stored(client, other)) == 20
    await client.indices.put_settings(index=index, settings={"index.blocks.write": False})

    assert await writing == []
    assert len(await stored(client, index)) == 20
    assert len(caplog.messages) == 1  # one line in ten seconds, however often it is tried
    assert f"20 documents wait: index {index}: HTTP 403" in caplog.messages[0]
    assert "private words" not in caplog.text


async def test_a_full_disk_is_waited_out(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    block = "index.blocks.read_only_allow_delete"
    await client.indices.put_settings(index=index, settings={block: True})

    writing = await until_refused(sink, notes(index, 20), retries)
    await client.indices.put_settings(index=index, settings={block: None})

    assert await writing == []
    assert len(await stored(client, index)) == 20


async def test_the_shard_limit_is_waited_out(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    limit = "cluster.max_shards_per_node"
    new = index.replace("2026.11", "2026.12")
    await client.cluster.put_settings(persistent={limit: 1})
    try:
        writing = await until_refused(sink, [*notes(index, 3), *notes(new, 3)], retries)
        assert len(await stored(client, index)) == 3
    finally:
        await client.cluster.put_settings(persistent={limit: None})

    assert await writing == []
    assert len(await stored(client, new)) == 3


async def test_a_closed_index_is_waited_out(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    await client.indices.close(index=index)

    writing = await until_refused(sink, notes(index, 3), retries)
    await client.indices.open(index=index)

    assert await writing == []


async def test_an_alias_in_the_place_of_the_index_blames_no_document(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    alias = index.replace("2026.11", "2026.12")
    for name in (f"{index}-a", f"{index}-b"):
        await client.indices.create(index=name, aliases={alias: {}})

    writing = await until_refused(sink, notes(alias, 3), retries)  # illegal_argument_exception
    await client.indices.delete(index=f"{index}-b")

    assert await writing == []


async def test_a_template_that_makes_no_index_blames_no_document(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, namespace: str, retries: Retries
) -> None:
    """It sorts by a field that it does not map: an illegal_argument_exception a document."""
    await client.indices.put_index_template(
        name=f"{namespace}-new",
        index_patterns=[f"{namespace}-new-*"],
        priority=5,
        template={"settings": {"index.sort.field": "nowhere"}},
    )
    new = f"{namespace}-new-2026.11"

    writing = await until_refused(sink, notes(new, 3), retries)
    await client.indices.delete_index_template(name=f"{namespace}-new")

    assert await writing == []


async def test_a_server_that_hangs_is_waited_out(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, node: Elasticsearch
) -> None:
    writes = notes(index, 500)
    node.stop_signal()
    try:
        writing = asyncio.create_task(sink.write(writes))
        await asyncio.sleep(2)
        assert not writing.done()
    finally:
        node.continue_signal()

    assert refused(await writing) == []
    assert len(await stored(client, index)) == 500


async def test_a_server_that_is_killed_is_waited_out(
    sink: ElasticSink,
    client: AsyncElasticsearch,
    index: str,
    node: Elasticsearch,
    retries: Retries,
) -> None:
    """What write() returned for before the kill survives it, too."""
    assert await sink.write(notes(index, 300)) == []
    node.kill()

    writing = await until_refused(sink, [Write(index, "late", {"text": "late"})], retries)
    node.start()

    assert refused(await writing) == []
    assert len(await stored(client, index)) == 301


async def test_a_write_can_be_cancelled(
    sink: ElasticSink, client: AsyncElasticsearch, index: str, retries: Retries
) -> None:
    await client.indices.put_settings(index=index, settings={"index.blocks.write": True})
    writing = await until_refused(sink, notes(index, 3), retries)

    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    await client.indices.put_settings(index=index, settings={"index.blocks.write": False})
    assert refused(await sink.write(notes(index, 3))) == []


# What stands between


async def test_a_lost_or_damaged_answer_loses_nothing(
    client: AsyncElasticsearch, index: str, node: Elasticsearch, retries: Retries
) -> None:
    damages = iter(["close", "html", b"", b"{}", b'{"items":[{"update":{"status":200}}]}', b"[]"])

    async def damaged(request: web.Request, response: web.Response) -> web.Response:
        match next(damages, None):
            case "close":
                assert request.transport is not None
                request.transport.abort()
            case "html":
                return web.Response(status=502, text="<html>Bad Gateway</html>")
            case bytes() as body:
                response.body = body
        return response

    async with proxy(node, damaged) as through:
        assert refused(await ElasticSink(through, retries).write(notes(index, 5))) == []

    assert retries.count >= 5  # aiohttp itself may repeat after the closed connection
    assert len(await stored(client, index)) == 5


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "BELLWETHER_ELASTICSEARCH_API_KEY"),
        (403, "does not permit"),
        (400, "is this address Elasticsearch's own?"),
        (503, "HTTP 503"),
    ],
)
async def test_a_proxy_that_refuses_all_blames_no_document(
    index: str,
    node: Elasticsearch,
    retries: Retries,
    caplog: pytest.LogCaptureFixture,
    status: int,
    words: str,
) -> None:
    open_again = asyncio.Event()

    async def refuse(_: web.Request, response: web.Response) -> web.Response:
        return response if open_again.is_set() else web.Response(status=status, text="no")

    async with proxy(node, refuse) as through:
        with caplog.at_level(logging.WARNING, "stream.elastic"):
            writing = await until_refused(ElasticSink(through, retries), notes(index, 3), retries)
        open_again.set()
        assert refused(await writing) == []

    assert words in caplog.text
