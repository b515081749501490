"""Elasticsearch as it is after a while of work, not as it is in its first minute.

A young server spends most of its processor time on compiling itself: measured beside a worker, two
thirds of 0.9 s per 1,000 documents, and that on the very cores that the worker is measured on. So
documents of the same form are written first, by the worker's own sink, without a model.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.common.corpus import Event
from schemas.decoding import decode
from schemas.documents import Origin, Write, document, index_name
from schemas.predictions import Classification, Prediction
from schemas.records import Kind, Record
from schemas.sources import load_sources
from schemas.taxonomy import Taxonomy, load_taxonomy
from stream.clients import make_elasticsearch
from stream.elastic import ElasticSink
from stream.settings import Settings

BATCH = 200


async def warm_elasticsearch(settings: Settings, events: Sequence[Event], times: int) -> None:
    """Write the events as documents so many times, each time under other ids."""
    client = make_elasticsearch(settings)
    sink = ElasticSink(client, on_retry=lambda: None)
    try:
        for run in range(times):
            writes = _writes(settings, events, run)
            for first in range(0, len(writes), BATCH):
                await sink.write(writes[first : first + BATCH])
    finally:
        await client.close()


def _writes(settings: Settings, events: Sequence[Event], run: int) -> list[Write]:
    taxonomy, now = load_taxonomy(settings.taxonomy), datetime.now(UTC)
    sources = {source.kind: source for source in load_sources(settings.sources)}
    answers = {kind: _answer(kind, taxonomy) for kind in Kind}
    writes = []
    for position, event in enumerate(events):
        record = decode(event.record(now)[1], sources[event.kind], now).record
        fields = document(
            record,
            answers[event.kind],
            risk=0.0,
            origin=Origin(settings.topic(event.kind.stream), 0, position),
            classified_at=now,
            taxonomy=taxonomy,
        )
        writes.append(Write(_index(settings, record), f"{record.id}-{run}", fields))
    return writes


def _index(settings: Settings, record: Record) -> str:
    return index_name(settings.prefix, record.kind.stream, record.event_time)


def _answer(kind: Kind, taxonomy: Taxonomy) -> Classification:
    """What a model would say that finds every label equally likely."""
    predictions = {}
    for task in taxonomy.for_kind(kind):
        share = 1 / len(task.labels)
        shares = (share,) * len(task.labels)
        predictions[task.name] = Prediction(task.labels[0], share, task.labels, shares)
    return Classification(predictions, truncated=False, tokens=0, model_version="none")
