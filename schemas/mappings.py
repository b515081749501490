"""Index templates: strict mappings of every field that a document may have.

They use only what the core of Elasticsearch has: no scripts, no language analyzers.
"""

from typing import Any

from schemas.records import Kind

ALERTS = "alerts"
DRIFT = "drift"

Properties = dict[str, Any]

_DATE: Properties = {"type": "date", "format": "strict_date_optional_time"}
_FLOAT: Properties = {"type": "float"}
_INTEGER: Properties = {"type": "integer"}
_LONG: Properties = {"type": "long"}
_TEXT: Properties = {"type": "text"}


def _keyword(longest: int = 256) -> Properties:
    # Lucene refuses a term over 32,766 bytes, and with it the document: longer is stored, not
    # searchable as a whole.
    return {"type": "keyword", "ignore_above": longest}


def _text_and_keyword(longest: int) -> Properties:
    return {"type": "text", "fields": {"keyword": _keyword(longest)}}


def _object(**properties: Properties) -> Properties:
    return {"type": "object", "dynamic": "strict", "properties": properties}


def _answer() -> Properties:
    return _object(label=_keyword(), confidence=_FLOAT)


def _sentiment() -> Properties:
    return _object(label=_keyword(), confidence=_FLOAT, value=_FLOAT)


def _entities() -> Properties:
    return {
        "type": "nested",
        "dynamic": "strict",
        "properties": {
            "symbol": _keyword(),
            "name": _text_and_keyword(256),
            "start": _INTEGER,
            "end": _INTEGER,
            "relevance": _FLOAT,
            "sentiment": _sentiment(),
        },
    }


def _tasks() -> Properties:
    """The answers of a user's own tasks: one shape for any number of them. Nested, so that a label
    is found together with its own task's name."""
    return {
        "type": "nested",
        "dynamic": "strict",
        "properties": {"task": _keyword(), "label": _keyword(), "confidence": _FLOAT},
    }


def _analysis() -> Properties:
    """What the worker adds to a record of either kind."""
    return {
        "sentiment": _sentiment(),
        "entities": _entities(),
        "tasks": _tasks(),
        "risk": _FLOAT,
        "flags": _keyword(),
        "model_version": _keyword(),
        "classified_at": _DATE,
        "origin": _object(topic=_keyword(), partition=_INTEGER, offset=_LONG),
        "received_at": _DATE,
    }


def _additions() -> Properties:
    """What others add to a document later: it stays when a newer record takes the old one's
    place."""
    labels = ("sentiment", "topic", "intent", "emotion")
    return {
        "human": _object(**{name: _keyword() for name in labels}),
        # What `human` is made of; nobody searches in it.
        "human_labels": {"type": "object", "enabled": False},
    }


NEWS_PROPERTIES: Properties = {
    "id": _keyword(),
    "published_at": _DATE,
    "headline": _text_and_keyword(512),
    "body": _TEXT,
    "source": _keyword(),
    "url": _keyword(2_048),
    "symbols": _keyword(),
    "language": _keyword(),
    "topic": _answer(),
    **_analysis(),
    **_additions(),
}
MESSAGE_PROPERTIES: Properties = {
    "id": _keyword(),
    "sent_at": _DATE,
    "customer_id": _keyword(),
    "channel": _keyword(),
    "text": _TEXT,
    "conversation_id": _keyword(),
    "language": _keyword(),
    "intent": _answer(),
    "emotion": _answer(),
    **_analysis(),
    **_additions(),
}
ALERT_PROPERTIES: Properties = {
    "id": _keyword(),
    "fingerprint": _keyword(),
    "rule": _keyword(),
    "severity": _keyword(),
    "status": _keyword(),
    "stream": _keyword(),
    "event_id": _keyword(),
    "event_ids": _keyword(),
    "key": _keyword(1_024),
    "reason": _text_and_keyword(512),
    "risk": _FLOAT,
    "count": _INTEGER,
    "event_time": _DATE,
    "raised_at": _DATE,
    "model_version": _keyword(),
    "raised_again": _INTEGER,
    "resolved_because": _keyword(),
}
DRIFT_PROPERTIES: Properties = {
    "at": _DATE,
    "worker": _keyword(),
    "task": _keyword(),
    "model_version": _keyword(),
    "texts": _LONG,
    # Nested, as in `_tasks`: a user's labels may hold dots, and would be fields without end.
    "labels": {
        "type": "nested",
        "dynamic": "strict",
        "properties": {"label": _keyword(), "texts": _LONG, "share": _FLOAT, "reference": _FLOAT},
    },
    "confidence_mean": _FLOAT,
    "abstained": _FLOAT,
    "unknown_tokens": _FLOAT,
    "psi_labels": _FLOAT,
    "psi_confidence": _FLOAT,
    "feedback": _LONG,
    "disagreement": _FLOAT,
}
PROPERTIES: dict[str, Properties] = {
    Kind.NEWS.stream: NEWS_PROPERTIES,
    Kind.MESSAGE.stream: MESSAGE_PROPERTIES,
    ALERTS: ALERT_PROPERTIES,
    DRIFT: DRIFT_PROPERTIES,
}
WRITTEN_BY_THE_WORKER = {
    kind: frozenset(PROPERTIES[kind.stream].keys() - _additions().keys()) for kind in Kind
}


def index_templates(prefix: str, replicas: int = 0) -> dict[str, dict[str, Any]]:
    """Template name to body, for the four kinds of index; `prefix` is empty or ends in -."""
    return {
        f"{prefix}{base}": _template(prefix, base, properties, replicas)
        for base, properties in PROPERTIES.items()
    }


def _template(prefix: str, base: str, properties: Properties, replicas: int) -> dict[str, Any]:
    return {
        # The digits of the year keep the template off the indices of a namespace that is itself
        # named like one of ours; where two still match, the longer prefix wins.
        "index_patterns": [f"{prefix}{base}-20*"],
        "priority": 200 + len(prefix),
        "template": {
            "settings": {"number_of_shards": 1, "number_of_replicas": replicas},
            "mappings": {"dynamic": "strict", "properties": properties},
            "aliases": {f"{prefix}{base}": {}},
        },
        "_meta": {"description": f"Bellwether: {base}"},
    }
