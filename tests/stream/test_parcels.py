import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decoding import decode
from schemas.errors import ConfigurationError
from schemas.records import Kind
from schemas.sources import Source
from stream.parcels import Packer, Parcel

NOW = datetime(2026, 11, 22, 6, 10, tzinfo=UTC)
NEWS = Source(topic="financial-news", kind=Kind.NEWS)
MESSAGES = Source(topic="customer-messages", kind=Kind.MESSAGE)
WIRE = Source(
    topic="wire",
    kind=Kind.NEWS,
    fields={"headline": "msg.title", "published_at": "msg.when", "id": "nr"},
    values={"source": "wire"},
)
RECORD = {
    "id": "n1",
    "published_at": "2026-11-20T08:00:00Z",
    "headline": "Acme opens a mill",
    "source": "newswire",
}


def packer(
    source: Source | None = NEWS,
    fields: dict[str, str] | None = None,
    values: dict[str, str] | None = None,
    fill: bool = True,
) -> Packer:
    return Packer(source, fields=fields or {}, values=values or {}, fill=fill)


def line(content: Any) -> bytes:
    return json.dumps(content).encode()


def sent(parcel: Parcel) -> dict[str, Any]:
    assert parcel.value is not None
    content: dict[str, Any] = json.loads(parcel.value)
    return content


def test_a_whole_record_goes_byte_for_byte() -> None:
    odd = b'{"published_at":"2026-11-20T08:00:00+02:00" ,"id":"n1","headline":"A","source":"s"}'
    assert packer().pack(odd, NOW) == Parcel(b"n1", odd, datetime(2026, 11, 20, 6, tzinfo=UTC))


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1]",
        b'"text"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 20_000,
        b'{"n":' + b"9" * 5_000 + b"}",
        b'{"$unknown": 1}',
        b'{"$base64": "!"}',
        b'{"$base64": "\xc3\xa9"}',
        b'{"$null": false}',
        b'{"$repeat": "x", "times": 99999999999}',
    ],
)
def test_what_is_no_record_goes_as_it_is(content: bytes) -> None:
    assert packer().pack(content, NOW, timedelta(days=1)) == Parcel(None, content)


@pytest.mark.parametrize(
    ("envelope", "value"),
    [
        ({"$base64": ""}, b""),
        ({"$base64": "/wo="}, b"\xff\n"),
        ({"$null": True}, None),
        ({"$repeat": "ab", "times": 3}, b"ababab"),
    ],
)
def test_an_envelope_stands_for_bytes_that_no_line_can_hold(
    envelope: dict[str, Any], value: bytes | None
) -> None:
    assert packer().pack(line(envelope), NOW, timedelta(days=1)) == Parcel(None, value)


def test_what_a_foreign_file_lacks_is_made_up() -> None:
    content = line({"text": "Acme opens a mill", "label": "positive"})
    pack = packer(fields={"headline": "text"}).pack
    parcel = pack(content, NOW)
    record = sent(parcel)
    assert record["published_at"] == "2026-11-22T06:10:00.000Z"
    assert record["source"] == "replay"
    assert parcel.key == record["id"].encode()
    assert parcel.event_time is None
    assert decode(parcel.value, NEWS, NOW).record.text == "Acme opens a mill"
    assert sent(pack(content, NOW + timedelta(hours=1)))["id"] == record["id"]
    assert sent(pack(content + b" ", NOW))["id"] != record["id"]


def test_each_message_without_a_customer_is_of_one_of_its_own() -> None:
    first, second = (packer(MESSAGES).pack(line({"text": text}), NOW) for text in ("a", "b"))
    assert first.key != second.key
    assert first.key == sent(first)["customer_id"].encode()
    assert sent(first)["channel"] == "other"
    assert decode(first.value, MESSAGES, NOW).record.kind is Kind.MESSAGE


def test_without_filling_a_broken_record_stays_broken() -> None:
    content = line({"headline": "no id, no time"})
    assert packer(fill=False).pack(content, NOW) == Parcel(None, content)


def test_constants_stand_where_a_line_says_nothing() -> None:
    pack = packer(values={"source": "tweets", "language": "en"}).pack
    assert sent(pack(line(RECORD), NOW)) == {**RECORD, "language": "en"}
    without = {name: value for name, value in RECORD.items() if name != "source"}
    assert sent(pack(line(without), NOW))["source"] == "tweets"


def test_a_text_becomes_a_list_of_one_symbol() -> None:
    pack = packer(fields={"symbols": "ticker"}).pack
    assert sent(pack(line({**RECORD, "ticker": "ACME"}), NOW))["symbols"] == ["ACME"]


def test_times_are_moved_and_everything_else_is_kept() -> None:
    record = {**RECORD, "body": "café \U0001f600 \x00", "extra": [1, 2.5, None]}
    parcel = packer().pack(line(record), NOW, timedelta(days=1, milliseconds=5))
    assert sent(parcel) == {**record, "published_at": "2026-11-21T08:00:00.005Z"}
    assert parcel.event_time == datetime(2026, 11, 20, 8, tzinfo=UTC)


def test_odd_contents_survive_a_move() -> None:
    odd = b'{"id":"\\ud800","published_at":"2026-11-20T08:00:00Z","n":' + b"9" * 400 + b"}"
    value = packer(fill=False).pack(odd, NOW, timedelta(days=1)).value
    assert value == odd.replace(b"20T08:00:00Z", b"21T08:00:00.000Z")


@pytest.mark.parametrize(
    "time",
    [
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "2100-01-01T00:00:00Z",
        "2026-11-20T08:00:00",
        "yesterday",
        17,
        None,
    ],
)
def test_a_wrong_time_is_neither_counted_nor_moved(time: object) -> None:
    content = line({**RECORD, "published_at": time})
    parcel = packer(fill=False).pack(content, NOW, timedelta(days=1))
    assert parcel == Parcel(b"n1", content)


def test_a_source_with_field_names_of_its_own_gets_those() -> None:
    theirs = {"nr": "n1", "msg": {"title": "Acme", "when": "2026-11-20T08:00:00Z", "x": 1}}
    whole = packer(WIRE).pack(line(theirs), NOW)
    assert whole.value == line(theirs)
    assert whole.key == b"n1"
    moved = sent(packer(WIRE).pack(line(theirs), NOW, timedelta(days=1)))
    assert moved["msg"] == {"title": "Acme", "when": "2026-11-21T08:00:00.000Z", "x": 1}
    mapped = packer(WIRE, fields={"headline": "text"}).pack(line({"text": "Acme"}), NOW)
    record = decode(mapped.value, WIRE, NOW).record
    assert (record.text, record.id) == ("Acme", sent(mapped)["nr"])


def test_other_topics_take_their_records_as_they_are() -> None:
    feedback = {"id": "f1", "event_id": "n1", "given_at": "2026-11-20T08:00:00Z"}
    parcel = packer(None).pack(line(feedback), NOW, timedelta(days=1))
    assert parcel.key == b"n1"
    assert sent(parcel) == {**feedback, "given_at": "2026-11-21T08:00:00.000Z"}


@pytest.mark.parametrize(
    ("source", "fields", "values", "said"),
    [
        (NEWS, {"title": "text"}, {}, "title is not a field of news records"),
        (NEWS, {}, {"title": "x"}, "title is not a field of news records"),
        (None, {"headline": "text"}, {}, "news and messages only"),
    ],
)
def test_unknown_fields_are_wrong_usage(
    source: Source | None, fields: dict[str, str], values: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        packer(source, fields, values)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=10,
)


@given(st.binary() | _JSON.map(line) | st.dictionaries(st.sampled_from([*RECORD]), _JSON).map(line))
def test_no_line_is_too_odd(content: bytes) -> None:
    for pack in (packer().pack, packer(WIRE, {"headline": "id"}).pack, packer(MESSAGES).pack):
        pack(content, NOW, timedelta(days=1))
