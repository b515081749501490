"""What a line of a file becomes on a topic.

- A JSON object is a record: mapped, completed and moved in time as asked. One that needs none of
  that is sent byte for byte.
- `{"$base64": "..."}` stands for the bytes it encodes, `{"$repeat": "x", "times": 9}` for a text
  repeated, `{"$null": true}` for a null value: samples hold broken values that no line can.
- Any other line is sent as it is; what is wrong with it is the worker's to say.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from schemas.decoding import MAX_AHEAD, MIN_EVENT_TIME
from schemas.errors import ConfigurationError
from schemas.records import RECORD_TYPES, Kind
from schemas.sources import Source, with_fields
from schemas.times import format_rfc3339, parse_rfc3339

Fields = dict[str, Any]

NO_SHIFT = timedelta(0)
MAX_REPEATED = 16 << 20
_ID_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Parcel:
    """A record ready to send. `event_time` is the time the line itself gave, before any shift;
    None where it gave none that the service accepts."""

    key: bytes | None
    value: bytes | None
    event_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Names:
    """The fields of a topic's records that matter here."""

    time: str
    key: str


_KINDS = {
    Kind.NEWS: _Names(time="published_at", key="id"),
    Kind.MESSAGE: _Names(time="sent_at", key="customer_id"),
}
_FEEDBACK = _Names(time="given_at", key="event_id")
_DEFAULTS: dict[Kind, dict[str, str]] = {
    Kind.NEWS: {"source": "replay"},
    Kind.MESSAGE: {"channel": "other"},
}


class Packer:
    """Makes parcels for one topic. `source` is None for a topic that holds no records.

    `fields` maps ours = theirs and `values` gives constants where a line says nothing; with `fill`
    an absent id, time, source, channel or customer is made up. Raises ConfigurationError for a
    field that the topic's records do not have.
    """

    def __init__(
        self,
        source: Source | None,
        *,
        fields: Mapping[str, str],
        values: Mapping[str, str],
        fill: bool,
    ) -> None:
        self._reader = _reader(source, fields, values)
        self._source = source
        self._fill = fill and source is not None
        self._names = _KINDS[source.kind] if source else _FEEDBACK
        self._paths: Mapping[str, str] = source.fields if source else {}

    def pack(self, line: bytes, now: datetime, shift: timedelta = NO_SHIFT) -> Parcel:
        """The parcel of a line, with its time moved by `shift`. Never raises for what is in it."""
        record = _object(line)
        if record is None:
            return Parcel(None, line)
        if _is_envelope(record):
            return _opened(record, line)
        changed = self._mapped(record)
        event_time = self._event_time(changed, now)
        if self._fill:
            changed = self._filled(changed, line, now)
        if event_time is not None and shift:
            moved = format_rfc3339(event_time + shift)
            changed = _with(changed, self._path(self._names.time), moved)
        value = line if changed is record else _encoded(changed)
        return Parcel(self._key(changed), value, event_time)

    def _path(self, name: str) -> str:
        """Where records of this topic hold our field."""
        return self._paths.get(name, name)

    def _mapped(self, record: Fields) -> Fields:
        if self._reader is None:
            return record
        ours, _ = self._reader.apply(record)
        mapped: Fields = {}
        for name, value in ours.items():
            mapped = _with(mapped, self._path(name), value)
        return mapped

    def _filled(self, record: Fields, line: bytes, now: datetime) -> Fields:
        assert self._source is not None
        identity = sha256(line).hexdigest()[:_ID_CHARACTERS]
        made_up = {"id": identity, self._names.time: format_rfc3339(now)}
        made_up |= _DEFAULTS[self._source.kind]
        if self._source.kind is Kind.MESSAGE:
            # A customer each: one for all would make them a crowd of complaints, on one partition.
            made_up["customer_id"] = f"unknown-{identity[:12]}"
        for name, value in made_up.items():
            path = self._path(name)
            if _get(record, path) is None and name not in self._source.values:
                record = _with(record, path, value)
        return record

    def _event_time(self, record: Fields, now: datetime) -> datetime | None:
        """The line's time, where the service accepts it: a wrong one is to stay as wrong."""
        text = _get(record, self._path(self._names.time))
        try:
            time = parse_rfc3339(text) if isinstance(text, str) else None
        except ValueError:
            return None
        return time if time and MIN_EVENT_TIME <= time <= now + MAX_AHEAD else None

    def _key(self, record: Fields) -> bytes | None:
        key = _get(record, self._path(self._names.key))
        return key.encode(errors="surrogatepass") if isinstance(key, str) else None


def _reader(
    source: Source | None, fields: Mapping[str, str], values: Mapping[str, str]
) -> Source | None:
    """How to read the file's records, or None where they are the topic's own already."""
    if not fields and not values:
        return None
    if source is None:
        raise ConfigurationError("--map and --set are for topics of news and messages only")
    known = RECORD_TYPES[source.kind].model_fields
    for name in values:
        if name not in known:
            raise ConfigurationError(
                f"{name} is not a field of {source.kind} records: they have {', '.join(known)}"
            )
    return with_fields(source, fields).model_copy(update={"values": {**source.values, **values}})


def _object(line: bytes) -> Fields | None:
    """The JSON object in a line, its numbers and odd characters unharmed; None if it is none."""
    try:
        data = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _encoded(record: Fields) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8, but it has an escape
        return json.dumps(record, separators=(",", ":")).encode()


def _is_envelope(record: Fields) -> bool:
    return next(iter(record), "").startswith("$")


def _opened(record: Fields, line: bytes) -> Parcel:
    """What an envelope stands for; one that cannot be opened is sent as it is."""
    match record:
        case {"$null": True}:
            return Parcel(None, None)
        case {"$repeat": str(text), "times": int(times)} if len(text) * times <= MAX_REPEATED:
            return Parcel(None, text.encode(errors="surrogatepass") * times)
        case {"$base64": str(text)}:
            with suppress(ValueError):
                return Parcel(None, b64decode(text, validate=True))
    return Parcel(None, line)


def _get(record: Fields, path: str) -> Any:
    if path in record:
        return record[path]
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _with(record: Fields, path: str, value: Any) -> Fields:
    """A copy of the record with one field set, made where it is missing."""
    top, dot, rest = path.partition(".")
    if not dot or path in record:
        return {**record, path: value}
    below = record.get(top)
    return {**record, top: _with(below if isinstance(below, dict) else {}, rest, value)}
