"""Events whose documents show that a newer version of their record was there before them.

Where two versions of a record stand in two partitions, the older may come last. Redis knows nothing
of a newer one that matched no rule, so it raises what the older one matches; the document tells.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from schemas.documents import content_digest
from schemas.origins import Origin
from stream.alerts import Judged, RecordVersion
from stream.document_store import DocumentStore, StoredDocument
from stream.events import AnalysedEvent


async def overtaken(
    events: Sequence[AnalysedEvent], idle: Collection[int], documents: DocumentStore
) -> list[Judged]:
    """What Redis should have been told before: the newer versions, which match nothing that it
    does not know of. `idle` are the positions of the events whose documents stayed as they were."""
    doubtful = [event for i, event in enumerate(events) if i in idle and event.judged.matches]
    stored = await documents.read({event.change.place for event in doubtful})
    return [
        newer
        for event in doubtful
        if event.change.place in stored
        for newer in _newer(event, stored[event.change.place])
    ]


def _newer(event: AnalysedEvent, document: StoredDocument) -> Iterator[Judged]:
    kind, origin = event.event.record.kind, Origin.of(document.source)
    if origin and origin.follows(event.event.incoming.origin):
        version = RecordVersion(content_digest(document.source, kind), origin)
        yield replace(event.judged, matches=(), version=version)
