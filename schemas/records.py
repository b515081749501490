"""What arrives on Kafka: news, customers' messages and people's feedback; and how bytes become one.

`decode` is the only way in: whatever the bytes, it gives a record or raises RecordRejected with a
reason and a sentence for a person. The sentence never holds a customer's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from schemas.dead_letters import Reason
from schemas.errors import RecordRejected
from schemas.fields import (
    Body,
    Headline,
    Id,
    Instant,
    Language,
    MessageText,
    Name,
    RecordText,
    ShortText,
    Symbols,
    Url,
    explain,
    kind_of_value,
)
from schemas.times import format_milliseconds

if TYPE_CHECKING:
    from schemas.sources import Source

MAX_VALUE_BYTES = 1 << 20
MIN_EVENT_TIME = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Kind(StrEnum):
    """Which of the two streams a record belongs to."""

    NEWS = "news"
    MESSAGE = "message"

    @property
    def stream(self) -> str:
        """The stream's name, without namespace."""
        return "financial-news" if self is Kind.NEWS else "customer-messages"


class Channel(StrEnum):
    EMAIL = "email"
    CHAT = "chat"
    PHONE = "phone"
    SOCIAL = "social"
    APP = "app"
    OTHER = "other"


class _Received(BaseModel):
    # Strict: the text "1" is not the number 1, nor the other way round.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class NewsRecord(_Received):
    """One piece of financial news. `published_at` is in UTC."""

    id: Id
    published_at: Instant
    headline: Headline
    body: Body = None
    source: Name
    url: Url = None
    symbols: Symbols = None
    language: Language = None

    kind: ClassVar[Kind] = Kind.NEWS

    @property
    def event_time(self) -> datetime:
        return self.published_at

    @property
    def text(self) -> str:
        """What the model reads: the headline, then a blank line and the body if there is one."""
        if not self.body or self.body.isspace():
            return self.headline
        return f"{self.headline}\n\n{self.body}"


class MessageRecord(_Received):
    """One message of a customer. `sent_at` is in UTC."""

    id: Id
    sent_at: Instant
    customer_id: Id
    channel: Annotated[
        Channel,
        Strict(False),  # JSON has no enumerations: the text is the value
        Field(description="one of email, chat, phone, social, app, other"),
    ]
    text: MessageText
    conversation_id: ShortText = None
    language: Language = None

    kind: ClassVar[Kind] = Kind.MESSAGE

    @property
    def event_time(self) -> datetime:
        return self.sent_at


class FeedbackRecord(_Received):
    """What a person says the label of an event is; a null `label` takes it back."""

    id: Id
    event_id: Id
    stream: Annotated[
        Literal["financial-news", "customer-messages"],
        Field(description="one of financial-news, customer-messages"),
    ]
    task: Name
    label: Annotated[
        Name | None,
        Field(description="text of 1 to 256 characters, or null to take the label back"),
    ]
    entity: ShortText = None
    annotator: Name
    given_at: Instant
    selection: Annotated[
        Literal["correction", "audit", "active"] | None,
        Field(description="one of correction, audit, active"),
    ] = None
    text: RecordText = None


Record = NewsRecord | MessageRecord
RECORD_TYPES: dict[Kind, type[NewsRecord] | type[MessageRecord]] = {
    Kind.NEWS: NewsRecord,
    Kind.MESSAGE: MessageRecord,
}
_Model = TypeVar("_Model", bound=_Received)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record, and how many of its top-level fields nobody knows."""

    record: Record
    unknown_fields: int


def decode(value: bytes | None, source: Source, received_at: datetime) -> Decoded:
    """The record in a value of `source.topic`; `received_at` is Kafka's time of it, in UTC.

    Raises RecordRejected and nothing else, whatever the bytes.
    """
    fields, unknown = source.apply(_json_object(value))
    record = _validated(RECORD_TYPES[source.kind], fields)
    time_field = "published_at" if record.kind is Kind.NEWS else "sent_at"
    _check_time(time_field, record.event_time, received_at)
    return Decoded(record, unknown)


def decode_feedback(value: bytes | None, received_at: datetime) -> FeedbackRecord:
    """The feedback in a value. Raises RecordRejected and nothing else."""
    record = _validated(FeedbackRecord, _json_object(value))
    _check_time("given_at", record.given_at, received_at)
    return record


def _json_object(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise _undecodable("the value is null, expected a JSON object")
    if len(value) > MAX_VALUE_BYTES:
        size = f"the value has {len(value):,} bytes, at most {MAX_VALUE_BYTES:,} are allowed"
        raise RecordRejected(Reason.TOO_LARGE, size)
    try:
        data = orjson.loads(value.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        raise _undecodable(_why_undecodable(value, error)) from None
    if not isinstance(data, dict):
        found = f"the value is {kind_of_value(data)}, expected a JSON object"
        raise RecordRejected(Reason.INVALID, found)
    return data


def _undecodable(message: str) -> RecordRejected:
    return RecordRejected(Reason.UNDECODABLE, message)


_LOOKS_LIKE = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x00": "binary data, such as Avro behind a schema registry",
}


def _why_undecodable(value: bytes, error: orjson.JSONDecodeError) -> str:
    rest = value.removeprefix(_BYTE_ORDER_MARK)
    if not rest:
        return "the value is empty, expected a JSON object"
    if rest.isspace():
        return "the value is only white space, expected a JSON object"
    for start, name in _LOOKS_LIKE.items():
        if rest.startswith(start):
            return f"the value looks like {name}, expected plain JSON in UTF-8"
    try:
        rest.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8 at byte {wrong.start:,}, expected JSON in UTF-8"
    return f"not JSON: {error.msg} at character {error.pos:,}"


def _validated(model: type[_Model], fields: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        message = explain(error, model)
    # Outside of the handler: pydantic's error quotes the text, and must not follow as a context.
    raise RecordRejected(Reason.INVALID, message)


def _check_time(field: str, instant: datetime, received_at: datetime) -> None:
    if instant < MIN_EVENT_TIME:
        expected = "expected 2000-01-01 or later"
    elif instant - received_at > MAX_AHEAD:
        expected = "expected at most a day ahead of its arrival in Kafka at "
        expected += format_milliseconds(received_at)
    else:
        return
    found = f"{field}: {format_milliseconds(instant)}, {expected}"
    raise RecordRejected(Reason.TIME_OUT_OF_RANGE, found)
