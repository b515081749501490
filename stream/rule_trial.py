"""What risk and rules would make of a text that nobody sent, for `classify --rules`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from schemas.fields import MAX_HEADLINE_CHARACTERS
from schemas.predictions import Classification
from schemas.records import RECORD_TYPES, Kind, Record
from stream.alerts import Match
from stream.analysis import Analysis

Fields = Mapping[str, Any]
Trial = Callable[[Fields, str, Kind, Classification], dict[str, Any]]

_DIGITS = 6
_UNKNOWN = "unknown"
MOST_OF_AN_ID = 64  # characters: as bytes never too many


def trial(analysis: Analysis) -> Trial:
    """A function from a line's fields, its text and kind and the model's answer to `risk` and
    `rules`: those that would match, whatever they have to wait or count for."""

    def tried(
        fields: Fields, text: str, kind: Kind, classification: Classification
    ) -> dict[str, Any]:
        record = _record(fields, text, kind)
        risk = analysis.risk.score(record, classification)
        matches = analysis.rules.matches(record, classification, risk)
        return {"risk": round(risk, _DIGITS), "rules": [_told(match) for match in matches]}

    return tried


def _record(fields: Fields, text: str, kind: Kind) -> Record:
    """The record that the fields make. What they lack is made up, and so is all but the text
    where they make none: the text is what is tried."""
    made_up = _made_up(kind)
    record = RECORD_TYPES[kind]
    own = {name: fields[name] for name in record.model_fields if fields.get(name) is not None}
    try:
        return record.model_validate({**made_up, **own, **_text_fields(fields, text, kind)})
    except ValidationError:
        known = {"id": str(fields["id"])[:MOST_OF_AN_ID]} if fields.get("id") else {}
        return record.model_validate({**made_up, **known, **_text_fields({}, text, kind)})


def _made_up(kind: Kind) -> dict[str, Any]:
    now = datetime.now(UTC)
    if kind is Kind.NEWS:
        return {"id": _UNKNOWN, "published_at": now, "source": None}
    return {"id": _UNKNOWN, "sent_at": now, "customer_id": _UNKNOWN, "channel": "other"}


def _text_fields(fields: Fields, text: str, kind: Kind) -> dict[str, Any]:
    if kind is Kind.MESSAGE:
        return {"text": text}
    if fields.get("headline") and "text" not in fields:
        return {}
    return {"headline": text[:MAX_HEADLINE_CHARACTERS], "body": text[MAX_HEADLINE_CHARACTERS:]}


def _told(match: Match) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rule": match.rule,
        "severity": match.severity,
        "key": match.key,
        "reason": str(match.count).join(match.reason),
    }
    if match.count > 1:
        told |= {"count": match.count, "window_seconds": match.window_ms / 1000}
    return told
