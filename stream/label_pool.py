"""The texts among which `bellwether label` chooses: recent ones without this annotator's label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from models.classifier import Classifier
from schemas.decoding import decode_feedback
from schemas.errors import RecordRejected
from schemas.records import Kind, news_text
from schemas.taxonomy import Task
from stream.clients import make_elasticsearch
from stream.elastic_errors import expected_to_answer
from stream.labelling import Candidate
from stream.settings import Settings
from stream.topic_reader import read_topic

POOL_TEXTS = 300
# Elasticsearch takes 65,536 terms in a query. Of more labels the oldest are left to be found below.
MOST_EXCLUDED = 50_000

_TIME_FIELDS = {Kind.NEWS: "published_at", Kind.MESSAGE: "sent_at"}
_FIELDS = ("id", "headline", "body", "text", "language")


@dataclass(frozen=True, slots=True)
class Pooled:
    """A text of a document; `language` is what its record says of it."""

    event_id: str
    text: str
    language: str | None


async def recent_texts(
    settings: Settings, task: Task, annotator: str, since: datetime, random: Random
) -> list[Pooled]:
    """Some hundred documents since then without this annotator's label, each as likely as another.

    What was labelled is read from the feedback topic, which knows it at once. Raises
    ServerUnavailable, and BellwetherError where there is no such topic.
    """
    labelled = await _labelled(settings, task, annotator)
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            response = await client.search(
                index=f"{settings.prefix}{task.kind.stream}",
                query=_query(_TIME_FIELDS[task.kind], since, [*labelled][-MOST_EXCLUDED:], random),
                source_includes=_FIELDS,
                size=POOL_TEXTS,
                ignore_unavailable=True,
            )
    finally:
        await client.close()
    sources = {hit["_source"]["id"]: hit["_source"] for hit in response["hits"]["hits"]}
    return [
        Pooled(event_id, _text(task.kind, source), source.get("language"))
        for event_id, source in sources.items()
        if event_id not in labelled
    ]


def classified(classifier: Classifier, pool: Sequence[Pooled], task: Task) -> list[Candidate]:
    """The same with the current model's answers, which have all probabilities."""
    answers = classifier.classify(
        [each.text for each in pool],
        [task.kind] * len(pool),
        languages=[each.language for each in pool],
    )
    return [
        Candidate(
            each.event_id,
            each.text,
            answer.predictions[task.name],
            foreign=answer.foreign_language is not None,
        )
        for each, answer in zip(pool, answers, strict=True)
    ]


async def _labelled(settings: Settings, task: Task, annotator: str) -> dict[str, None]:
    """The events to which this annotator gave a label of the task and did not take it back, as far
    back as the feedback topic reaches; oldest first. Labels for a company are others."""
    events: dict[str, None] = {}
    async for record in read_topic(settings, "feedback"):
        try:
            given = decode_feedback(record.value, datetime.now(UTC))
        except RecordRejected:
            continue
        if (given.task, given.annotator) != (task.name, annotator) or given.entity:
            continue
        events.pop(given.event_id, None)
        if given.label is not None:
            events[given.event_id] = None
    return events


def _query(
    time_field: str, since: datetime, excluded: Sequence[str], random: Random
) -> Mapping[str, Any]:
    wanted = {
        "bool": {
            "filter": {"range": {time_field: {"gte": since.isoformat()}}},
            "must_not": {"terms": {"id": excluded}},
        }
    }
    chance = {"seed": random.getrandbits(31), "field": "_seq_no"}
    return {"function_score": {"query": wanted, "random_score": chance, "boost_mode": "replace"}}


def _text(kind: Kind, source: Mapping[str, Any]) -> str:
    """As the model read it."""
    if kind is Kind.MESSAGE:
        return str(source["text"])
    return news_text(source["headline"], source.get("body"))
