"""The documents of events: found by id, read as they are now, and given people's labels.

Elasticsearch is waited for as long as it is away. A document is replaced as a whole and only if
nobody changed it since it was read; else it is read again. So no write of the pipeline is lost,
and none of ours.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from schemas.documents import Version, Write
from schemas.human import HumanLabel
from stream.elastic import ElasticSink
from stream.elastic_errors import explain
from stream.retry import pauses

REQUEST_TIMEOUT_SECONDS = 30
# More than one id can have: an id stands in one month, or in a few by mistake.
MAX_HITS = 10_000

logger = logging.getLogger(__name__)

T = TypeVar("T")
Hit = Mapping[str, Any]


class EventKey(NamedTuple):
    """An event's identity: the stream, without namespace, and the id."""

    stream: str
    id: str


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it was when it was read."""

    index: str
    version: Version
    source: Mapping[str, Any]


Places = Mapping[EventKey, str]  # the index of each event
Documents = Mapping[EventKey, StoredDocument]


class EventDocuments:
    """Documents by event. `on_retry` is called for each attempt repeated."""

    def __init__(
        self,
        client: AsyncElasticsearch,
        sink: ElasticSink,
        prefix: str,
        on_retry: Callable[[], None],
    ) -> None:
        self._client = client.options(
            max_retries=0, retry_on_timeout=False, request_timeout=REQUEST_TIMEOUT_SECONDS
        )
        self._sink = sink
        self._prefix = prefix
        self._on_retry = on_retry

    async def locate(self, events: Collection[EventKey]) -> Places:
        """The indices of those events that a search finds: a second after they were written. Of
        an id in two months the later counts."""
        places: dict[EventKey, str] = {}
        for stream in sorted({event.stream for event in events}):
            ids = sorted({event.id for event in events if event.stream == stream})
            for hit in await self._patiently(lambda: self._search(stream, ids)):  # noqa: B023
                event = EventKey(stream, hit["_id"])
                places[event] = max(places.get(event, ""), hit["_index"])
        return places

    async def read(self, places: Places) -> Documents:
        """The documents there, as they are at this moment; those that are gone are left out."""
        if not places:
            return {}
        hits = await self._patiently(lambda: self._get(list(places.items())))
        return {
            event: StoredDocument(
                hit["_index"], Version(hit["_seq_no"], hit["_primary_term"]), hit["_source"]
            )
            for event, hit in zip(places, hits, strict=True)
            if hit.get("found")
        }

    async def mark(
        self, documents: Documents, labels: Mapping[EventKey, Sequence[HumanLabel]]
    ) -> dict[EventKey, str]:
        """Give documents their labels, in order; return when they are stored.

        The result says why, for each that the index refuses for good. Repeating a call, or a part
        of it, changes nothing. A document that is deleted meanwhile is left so.
        """
        refused: dict[EventKey, str] = {}
        while documents:
            writes = _writes(documents, labels)
            rejections = await self._sink.write(list(writes.values()))
            events = list(writes)
            refused |= {events[r.position]: r.message for r in rejections if not r.conflict}
            changed = [events[r.position] for r in rejections if r.conflict]
            documents = await self.read({event: documents[event].index for event in changed})
        return refused

    async def _search(self, stream: str, ids: list[str]) -> list[Hit]:
        response = await self._client.search(
            index=f"{self._prefix}{stream}",
            query={"ids": {"values": ids}},
            source=False,
            size=MAX_HITS,
            ignore_unavailable=True,
            # Or else an event on a shard that is not up yet would be none.
            allow_partial_search_results=False,
        )
        hits: list[Hit] = response["hits"]["hits"]
        return hits

    async def _get(self, places: Sequence[tuple[EventKey, str]]) -> list[Hit]:
        wanted = [{"_index": index, "_id": event.id} for event, index in places]
        response = await self._client.mget(docs=wanted)
        hits: list[Hit] = response["docs"]
        for hit in hits:
            _raise_unless_gone(hit)
        return hits

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        async for attempt in pauses():
            try:
                return await ask()
            except (ApiError, TransportError) as error:
                self._on_retry()
                if attempt % 10 == 0:
                    logger.warning(
                        "Elasticsearch does not tell about events of feedback: %s; trying again",
                        explain(error),
                    )
        raise AssertionError("the pauses never end")


def _raise_unless_gone(hit: Hit) -> None:
    """A shard that is not up answers for its documents with an error each."""
    error = hit.get("error")
    if error and error.get("type") != "index_not_found_exception":
        raise TransportError(f"a document cannot be read: {error.get('type')}")


def _writes(
    documents: Documents, labels: Mapping[EventKey, Sequence[HumanLabel]]
) -> dict[EventKey, Write]:
    """What is to be written so that each document has its labels; nothing where it has them."""
    writes = {}
    for event, document in documents.items():
        wanted = dict(document.source)
        for label in labels[event]:
            wanted = label.on(wanted)
        if wanted != document.source:
            writes[event] = Write(document.index, event.id, wanted, replaces=document.version)
    return writes
