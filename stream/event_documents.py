"""The documents of events: found by id, read as they are now, and given people's labels."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

from elasticsearch import AsyncElasticsearch

from schemas.documents import Change, Document, Place
from schemas.human import HumanLabel
from stream.document_store import REQUEST_TIMEOUT_SECONDS, DocumentStore, Hit, StoredDocument

# More than one id can have: an id stands in one month, or in a few by mistake.
MAX_HITS = 10_000


class EventKey(NamedTuple):
    """An event's identity: the stream, without namespace, and the id."""

    stream: str
    id: str


Places = Mapping[EventKey, str]  # the index of each event
Documents = Mapping[EventKey, StoredDocument]


class EventDocuments:
    """Documents by event."""

    def __init__(self, client: AsyncElasticsearch, store: DocumentStore, prefix: str) -> None:
        self._client = client.options(
            max_retries=0, retry_on_timeout=False, request_timeout=REQUEST_TIMEOUT_SECONDS
        )
        self._store = store
        self._prefix = prefix

    async def locate(self, events: Collection[EventKey]) -> Places:
        """The indices of those events that a search finds: a second after they were written. Of
        an id in two months the later counts."""
        places: dict[EventKey, str] = {}
        for stream in sorted({event.stream for event in events}):
            ids = sorted({event.id for event in events if event.stream == stream})
            for hit in await self._store.patiently(lambda: self._search(stream, ids)):  # noqa: B023
                event = EventKey(stream, hit["_id"])
                places[event] = max(places.get(event, ""), hit["_index"])
        return places

    async def read(self, places: Places) -> Documents:
        """The documents there, as they are at this moment; those that are gone are left out."""
        events = {Place(index, event.id): event for event, index in places.items()}
        stored = await self._store.read(events.keys())
        return {events[place]: document for place, document in stored.items()}

    async def mark(
        self, places: Places, labels: Mapping[EventKey, Sequence[HumanLabel]]
    ) -> dict[EventKey, str]:
        """Give the documents there their labels, in order; return when they are stored.

        The result says why, for each that the index refuses for good. Repeating a call, or a part
        of it, changes nothing. A document that is deleted meanwhile is left so.
        """
        events = list(labels)
        changes = [
            Change(Place(places[event], event.id), {}, partial(_labelled, labels[event]))
            for event in events
        ]
        stored = await self._store.revise(changes)
        return {events[refused.position]: refused.message for refused in stored.rejections}

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


def _labelled(labels: Sequence[HumanLabel], document: Document) -> dict[str, Any]:
    return reduce(lambda marked, label: label.on(marked), labels, dict(document))
