"""How bytes become a record.

`decode` is the only way in: whatever the bytes, it gives a record or raises RecordRejected with a
reason and a sentence for a person. The sentence never holds a customer's text.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from schemas.errors import Reason, RecordRejected
from schemas.fields import explain, kind_of_value
from schemas.records import RECORD_TYPES, FeedbackRecord, Kind, Received, Record
from schemas.sources import Source
from schemas.times import format_milliseconds

MAX_VALUE_BYTES = 1 << 20
MIN_EVENT_TIME = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_Model = TypeVar("_Model", bound=Received)


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
