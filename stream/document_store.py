"""Documents as they are at this moment, and changed so that no change of anybody is lost.

A document that is there is read, changed, and replaced as a whole, if nobody changed it since it
was read; else it is read again. Elasticsearch is waited for as long as it is away.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from schemas.documents import Change, Document, Place, Version, Write
from stream.elastic import ElasticSink, Rejection, Rejections
from stream.elastic_errors import explain
from stream.retry import pauses

REQUEST_TIMEOUT_SECONDS = 30
# Read and replaced at once: texts are long, and memory is bounded.
_PAGE = 250

logger = logging.getLogger(__name__)

T = TypeVar("T")
Hit = Mapping[str, Any]
Changes = dict[int, Change]  # by their position in a call


class Stored(NamedTuple):
    """What came of changes: those that are refused for good, and the positions of those that made
    nothing of the document that is there."""

    rejections: list[Rejection]
    idle: set[int]


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it was when it was read."""

    version: Version
    source: Document


class DocumentStore:
    """Reads and changes documents. `on_retry` is called for each attempt that is repeated."""

    def __init__(self, client: AsyncElasticsearch, on_retry: Callable[[], None]) -> None:
        self._client = client.options(
            max_retries=0, retry_on_timeout=False, request_timeout=REQUEST_TIMEOUT_SECONDS
        )
        self._sink = ElasticSink(client, on_retry)
        self._on_retry = on_retry

    async def put(self, changes: Sequence[Change]) -> Stored:
        """Store the documents that are not there, change those that are.

        A document that is new, as nearly all are, costs a place in one request and is not read.
        May be repeated, and cancelled at any point.
        """
        work = _Work()
        waiting = dict(enumerate(changes))
        while waiting:
            writes = [Write(*change.place, change.doc) for change in waiting.values()]
            there = work.conflicting(waiting, await self._sink.write(writes))
            waiting = await self._revise(there, work)  # what is gone again
        return work.done()

    async def revise(self, changes: Sequence[Change]) -> Stored:
        """Change the documents that are there. One that is deleted meanwhile is left so."""
        work = _Work()
        await self._revise(dict(enumerate(changes)), work)
        return work.done()

    async def read(self, places: Collection[Place]) -> dict[Place, StoredDocument]:
        """The documents there, as they are at this moment; those that are gone are left out."""
        if not places:
            return {}
        wanted = [{"_index": place.index_name, "_id": place.id} for place in places]
        hits = await self.patiently(lambda: self._get(wanted))
        return {
            place: StoredDocument(Version(hit["_seq_no"], hit["_primary_term"]), hit["_source"])
            for place, hit in zip(places, hits, strict=True)
            if hit.get("found")
        }

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, which is repeated until there is one."""
        async for attempt in pauses():
            try:
                return await ask()
            except (ApiError, TransportError) as error:
                self._on_retry()
                if attempt % 10 == 0:
                    logger.warning(
                        "Elasticsearch does not tell about documents: %s; trying again",
                        explain(error),
                    )
        raise AssertionError("the pauses never end")

    async def _get(self, wanted: list[dict[str, str]]) -> list[Hit]:
        response = await self._client.mget(docs=wanted)
        hits: list[Hit] = response["docs"]
        for hit in hits:
            _raise_unless_gone(hit)
        return hits

    async def _revise(self, changes: Changes, work: "_Work") -> Changes:
        """Change what is there; return the changes to documents that are not."""
        gone: Changes = {}
        for page in _pages(changes):
            waiting = page
            while waiting:
                stored = await self.read({change.place for change in waiting.values()})
                gone |= {p: change for p, change in waiting.items() if change.place not in stored}
                waiting = await self._replace(waiting, stored, work)
        return gone

    async def _replace(
        self, changes: Changes, stored: Mapping[Place, StoredDocument], work: "_Work"
    ) -> Changes:
        """Write what becomes of the documents; return the changes for which they are to be read
        again."""
        writes: dict[Place, tuple[int, Write]] = {}
        for position, change in changes.items():
            if document := stored.get(change.place):
                _, before = writes.get(change.place, (0, None))
                source = before.doc if before else document.source
                changed = change.onto(source)
                if changed == source:
                    work.idle.add(position)
                else:
                    write = Write(*change.place, changed, replaces=document.version)
                    writes[change.place] = position, write
        last = {position: changes[position] for position, _ in writes.values()}
        refusals = await self._sink.write([write for _, write in writes.values()])
        # What is refused takes only itself along, and not what came before it.
        again = {change.place for change in work.conflicting(last, refusals).values()}
        again |= {change.place for position, change in last.items() if position in work.rejected}
        return {
            position: change
            for position, change in changes.items()
            if change.place in again and position not in work.rejected
        }


@dataclass(slots=True)
class _Work:
    """What has come of the changes of one call so far."""

    rejected: Rejections = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)

    def conflicting(self, changes: Changes, rejections: Sequence[Rejection]) -> Changes:
        """The changes whose documents are to be read; notes those that are refused for good.
        `rejections` count the changes in order."""
        positions = list(changes)
        there = {}
        for rejection in rejections:
            position = positions[rejection.position]
            if rejection.conflict:
                there[position] = changes[position]
            else:
                self.rejected[position] = Rejection(position, rejection.message)
        return there

    def done(self) -> Stored:
        return Stored([self.rejected[position] for position in sorted(self.rejected)], self.idle)


def _pages(changes: Changes) -> Iterator[Changes]:
    """In order. Changes to one document may stand in several pages: each reads it anew."""
    items = iter(changes.items())
    while page := dict(islice(items, _PAGE)):
        yield page


def _raise_unless_gone(hit: Hit) -> None:
    """A shard that is not up answers for its documents with an error each."""
    error = hit.get("error")
    if error and error.get("type") != "index_not_found_exception":
        raise TransportError(f"a document cannot be read: {error.get('type')}")
