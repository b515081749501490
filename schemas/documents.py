"""What is written to Elasticsearch: documents of records and alerts, and where each goes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from schemas.alerts import STATUS_FIELDS, Alert, Status
from schemas.mappings import ALERTS, WRITTEN_BY_THE_WORKER
from schemas.mappings import index_templates as index_templates
from schemas.origins import Origin
from schemas.predictions import Classification, Prediction, sentiment_of_emotion
from schemas.records import RECORD_TYPES, Kind, MessageRecord, NewsRecord, Record, news_text
from schemas.taxonomy import EMOTION, INTENT, SENTIMENT, TOPIC, Task, Taxonomy
from schemas.times import format_milliseconds, format_rfc3339

TRUNCATED, LANGUAGE, SYMBOLS_CUT = "truncated", "language", "symbols_cut"
MAX_SYMBOLS = 100  # of a document; the list of a record may be longer
_DIGITS = 6  # of a probability: more is noise, and bytes
_CONTENT_BYTES = 16


Document = Mapping[str, Any]


class Version(NamedTuple):
    """Which state of a document it is, by Elasticsearch's own numbers."""

    seq_no: int
    primary_term: int


class Place(NamedTuple):
    """Where a document stands."""

    index_name: str
    id: str


@dataclass(frozen=True, slots=True)
class Write:
    """One document to be stored where there is none under its id; with `replaces`, in the place of
    the one that is there, if that still has this version."""

    index: str
    id: str
    doc: dict[str, Any]
    replaces: Version | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one document: `doc` where there is none under its id, else what `onto`
    makes of the one that is there. `onto` leaves what is newer, or the same, as it is: then the
    order in which changes come, and how often, makes no difference."""

    place: Place
    doc: dict[str, Any]
    onto: Callable[[Document], dict[str, Any]]


def index_name(prefix: str, base: str, event_time: datetime) -> str:
    """financial-news-2026.11: by the month of the event in UTC. `prefix` is empty or ends in -."""
    month = event_time.astimezone(UTC)
    return f"{prefix}{base}-{month.year:04}.{month.month:02}"


def document(
    record: Record,
    classification: Classification,
    *,
    risk: float,
    origin: Origin,
    classified_at: datetime,
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """The document of a record. Fields without a value are absent."""
    return {
        **_own_fields(record),
        **judgement(
            record, classification, risk=risk, classified_at=classified_at, taxonomy=taxonomy
        ),
        **origin.fields(),
    }


def record_change(record: Record, doc: dict[str, Any], origin: Origin, prefix: str) -> Change:
    """The document of a record, unless that of a newer record stands under its id."""
    place = Place(index_name(prefix, record.kind.stream, record.event_time), record.id)
    return Change(place, doc, partial(_newest_record, doc, record.kind, origin))


def _newest_record(
    doc: dict[str, Any], kind: Kind, origin: Origin, stored: Document
) -> dict[str, Any]:
    """The newer of two, whole, beside what others than the worker added to the one that is
    there."""
    other = Origin.of(stored)
    if other and not origin.follows(other):
        return dict(stored)
    written = WRITTEN_BY_THE_WORKER[kind]
    added = {name: value for name, value in stored.items() if name not in written}
    return {**doc, **added}


def judgement(
    record: Record,
    classification: Classification,
    *,
    risk: float,
    classified_at: datetime,
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """The fields of a document that are a model's; another model gives others."""
    if record.kind is Kind.NEWS:
        answers = _news_answers(classification)
    else:
        answers = _message_answers(classification, taxonomy)
    return {
        **answers,
        **_own_answers(classification, taxonomy),
        "risk": round(risk, _DIGITS),
        "flags": [*_record_flags(record), *flags(classification)],
        "model_version": classification.model_version,
        "classified_at": format_milliseconds(classified_at),
    }


def _record_flags(record: Record) -> Iterator[str]:
    if isinstance(record, NewsRecord) and len(record.symbols or ()) > MAX_SYMBOLS:
        yield SYMBOLS_CUT


def flags(classification: Classification) -> Iterator[str]:
    """What to know before one trusts the answers: truncated, language:de."""
    if classification.truncated:
        yield TRUNCATED
    if classification.foreign_language:
        yield f"{LANGUAGE}:{classification.foreign_language}"


def _own_fields(record: Record) -> dict[str, Any]:
    fields = _news_fields(record) if isinstance(record, NewsRecord) else _message_fields(record)
    return {name: value for name, value in fields.items() if value is not None}


def content_digest(document: Document, kind: Kind) -> str:
    """The same for two documents whose records had the same fields, however these were written or
    sent, and whatever a model said of them."""
    own = {name: document[name] for name in RECORD_TYPES[kind].model_fields if name in document}
    return blake2b(orjson.dumps(own), digest_size=_CONTENT_BYTES).hexdigest()


def _news_fields(record: NewsRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "published_at": format_rfc3339(record.published_at),
        "headline": record.headline,
        "body": record.body,
        "source": record.source,
        "url": record.url,
        "symbols": None if record.symbols is None else list(record.symbols[:MAX_SYMBOLS]),
        "language": record.language,
    }


def _message_fields(record: MessageRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "sent_at": format_rfc3339(record.sent_at),
        "customer_id": record.customer_id,
        "channel": record.channel.value,
        "text": record.text,
        "conversation_id": record.conversation_id,
        "language": record.language,
    }


def _news_answers(classification: Classification) -> dict[str, Any]:
    predictions = classification.predictions
    return {
        "sentiment": _sentiment(predictions[SENTIMENT]),
        "topic": _answer(predictions[TOPIC]),
    }


def _message_answers(classification: Classification, taxonomy: Taxonomy) -> dict[str, Any]:
    emotion = classification.predictions[EMOTION]
    sentiment = sentiment_of_emotion(emotion, taxonomy)
    if classification.foreign_language:
        sentiment = sentiment.doubted()  # sums of doubtful answers may be sure
    return {
        "sentiment": _sentiment(sentiment),
        "intent": _answer(classification.predictions[INTENT]),
        "emotion": _answer(emotion),
    }


def _own_answers(classification: Classification, taxonomy: Taxonomy) -> dict[str, Any]:
    """Those of the user's own tasks, which have no fields of their own."""
    own = [
        {"task": name, **_answer(prediction)}
        for name, prediction in classification.predictions.items()
        if not taxonomy.tasks[name].built_in
    ]
    return {"tasks": own} if own else {}


def _answer(prediction: Prediction) -> dict[str, Any]:
    return {"label": prediction.label, "confidence": round(prediction.confidence, _DIGITS)}


def _sentiment(prediction: Prediction) -> dict[str, Any]:
    value = prediction.probability("positive") - prediction.probability("negative")
    return {**_answer(prediction), "value": round(value, _DIGITS)}


def text_of(document: Mapping[str, Any], kind: Kind) -> str:
    """What the model read of the record that a document was made of."""
    if kind is Kind.MESSAGE:
        return str(document["text"])
    return news_text(document["headline"], document.get("body"))


def answer_of(document: Mapping[str, Any], task: Task) -> Mapping[str, Any] | None:
    """The model's answer on a document, with `label` and `confidence`; None where it has none."""
    if task.built_in:
        return document.get(task.field)
    own = document.get("tasks", ())
    return next((answer for answer in own if answer["task"] == task.name), None)


def alert_change(alert: Alert, prefix: str) -> Change:
    """The alert as raised where it is not there, else its later status: what comes late or again
    changes nothing."""
    place = Place(index_name(prefix, ALERTS, alert.event_time), alert.id)
    return Change(place, alert.as_dict(), partial(_newest_status, alert))


def _newest_status(alert: Alert, stored: Document) -> dict[str, Any]:
    raised_again = stored.get("raised_again", 0)
    if alert.stage <= (raised_again, stored.get("status") == Status.RESOLVED):
        return dict(stored)
    if (alert.raised_again or 0) == raised_again:
        told = {name: value for name, value in alert.as_dict().items() if name in STATUS_FIELDS}
        return {**stored, **told}
    added = {name: value for name, value in stored.items() if name not in Alert.model_fields}
    return {**alert.as_dict(), **added}
