"""Alerts, as Redis and Elasticsearch hold them, and their identities."""

from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.fields import Id, Instant

MAX_EVENT_IDS = 20
STATUS_FIELDS = frozenset({"status", "resolved_because"})

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Status(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class Cause(StrEnum):
    """Why an alert was resolved before it was over."""

    CORRECTED = "corrected"


class Alert(BaseModel):
    """One alert. `stream` is without namespace, `event_id` is the event that raised it,
    `event_ids` are the newest 20 behind it, the newest last, and `count` is how many there were.

    `resolved_because` is absent where the alert was simply over; `raised_again` counts how often
    it was raised after a correction had resolved it, and is absent where it never was."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: _Digest
    fingerprint: _Digest
    rule: str
    severity: Severity
    status: Status
    stream: str
    event_id: Id
    event_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_EVENT_IDS)]
    key: str
    reason: str
    risk: Annotated[float, Field(ge=0, le=1)]
    count: Annotated[int, Field(ge=1)]
    event_time: Instant
    raised_at: Instant
    model_version: str
    raised_again: Annotated[int, Field(ge=1)] | None = None
    resolved_because: Cause | None = None

    @property
    def stage(self) -> tuple[int, bool]:
        """Grows with each change of status."""
        return self.raised_again or 0, self.status is Status.RESOLVED

    def to_json(self) -> str:
        """Compact JSON; times are RFC 3339 in UTC, what has no value is absent."""
        return self.model_dump_json(exclude_none=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises pydantic's ValidationError if the text is no alert."""
        return cls.model_validate_json(text)

    def as_dict(self) -> dict[str, Any]:
        """JSON's types only."""
        return self.model_dump(mode="json", exclude_none=True)


def alert_id(rule: str, key: str, stream: str, event_id: str) -> str:
    """SHA-256, in hexadecimal, of the compact UTF-8 JSON array of the four."""
    return _digest(rule, key, stream, event_id)


def fingerprint(rule: str, key: str) -> str:
    """What an alert is about, whichever event raised it: the same digest over [rule, key]."""
    return _digest(rule, key)


def _digest(*parts: str) -> str:
    return sha256(orjson.dumps(parts)).hexdigest()
