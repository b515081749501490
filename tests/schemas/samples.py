"""Records and answers that the tests of this folder share."""

from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.alerts import Alert, alert_id, fingerprint
from schemas.labels import LabelRecord
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.sources import Source
from schemas.taxonomy import Taxonomy

ARRIVED = datetime(2026, 11, 22, 6, 10, tzinfo=UTC)
NEWS_SOURCE = Source(topic="financial-news", kind=Kind.NEWS)
MESSAGE_SOURCE = Source(topic="customer-messages", kind=Kind.MESSAGE)


def news(**changes: Any) -> dict[str, Any]:
    """A valid news record; a change to `...` takes the field out."""
    record = {
        "id": "wire-1",
        "published_at": "2026-11-22T06:09:58Z",
        "headline": "Harbour Bank halts withdrawals",
        "source": "wire",
    }
    return _changed(record, changes)


def message(**changes: Any) -> dict[str, Any]:
    record = {
        "id": "m-1",
        "sent_at": "2026-11-22T07:09:58.250+01:00",
        "customer_id": "c-7",
        "channel": "chat",
        "text": "Somebody paid with my card and it was not me.",
    }
    return _changed(record, changes)


def feedback(**changes: Any) -> dict[str, Any]:
    record = {
        "id": "f-1",
        "event_id": "m-1",
        "stream": "customer-messages",
        "task": "message.intent",
        "label": "compromised_card",
        "annotator": "ana",
        "given_at": "2026-11-22T06:09:59Z",
    }
    return _changed(record, changes)


def label(**changes: Any) -> LabelRecord:
    fields = {
        "task": "message.intent",
        "event_id": "m-1",
        "annotator": "ana",
        "stream": "customer-messages",
        "label": "compromised_card",
        "text": "Somebody paid with my card and it was not me.",
        "model": {"label": "other", "confidence": 0.5, "version": "0123456789ab"},
        "selection": "correction",
        "given_at": ARRIVED,
        "feedback_id": "f-1",
    }
    return LabelRecord.model_validate({**fields, **changes})


def _changed(record: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**record, **changes}.items() if value is not ...}


def as_bytes(record: dict[str, Any]) -> bytes:
    return orjson.dumps(record)


def certain(labels: tuple[str, ...], label: str) -> Prediction:
    """The answer that is sure of `label`."""
    return Prediction.most_likely(labels, tuple(float(each == label) for each in labels))


def classified(
    taxonomy: Taxonomy, kind: Kind, *labels: str, truncated: bool = False
) -> Classification:
    """Sure answers, one label a task in the taxonomy's order."""
    tasks = taxonomy.for_kind(kind)
    predictions = {
        task.name: certain(task.labels, label) for task, label in zip(tasks, labels, strict=True)
    }
    return Classification(predictions, truncated, tokens=12, model_version="0123456789ab")


def alert(**changes: Any) -> Alert:
    fields = {
        "id": alert_id("bank-run", "HBK", "financial-news", "wire-1"),
        "fingerprint": fingerprint("bank-run", "HBK"),
        "rule": "bank-run",
        "severity": "critical",
        "status": "firing",
        "stream": "financial-news",
        "event_id": "wire-1",
        "event_ids": ["wire-0", "wire-1"],
        "key": "HBK",
        "reason": "2 negative headlines about HBK in 10 minutes",
        "risk": 0.75,
        "count": 2,
        "event_time": ARRIVED,
        "raised_at": ARRIVED,
        "model_version": "0123456789ab",
    }
    return Alert.model_validate({**fields, **changes})
