"""Random bytes, random JSON and damaged records: the decoder gives a record or a reason."""

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.decoding import decode, decode_feedback
from schemas.errors import RecordRejected
from schemas.records import Kind
from schemas.sources import Source
from tests.schemas.samples import (
    ARRIVED,
    MESSAGE_SOURCE,
    NEWS_SOURCE,
    as_bytes,
    feedback,
    message,
    news,
)

NAMES = sorted({*news(), *message(), *feedback(), "body", "url", "symbols", "language", "deep"})
MAPPED = Source(
    topic="wire",
    kind=Kind.NEWS,
    fields={"headline": "deep.text", "symbols": "id", "published_at": "deep.when.at"},
    values={"source": "wire"},
)
READERS: list[Callable[[bytes | None], object]] = [
    lambda value: decode(value, NEWS_SOURCE, ARRIVED),
    lambda value: decode(value, MESSAGE_SOURCE, ARRIVED),
    lambda value: decode(value, MAPPED, ARRIVED),
    lambda value: decode_feedback(value, ARRIVED),
]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
times = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format,
    st.integers(0, 9999),
    st.integers(0, 13),
    st.integers(0, 32),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.sampled_from(["Z", "", "+14:00", "-23:59", ".000001Z", "+99:99"]),
)
scalars = st.none() | st.booleans() | texts | times | st.floats(allow_nan=False)
scalars |= st.integers(-(2**63), 2**64 - 1)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
records = st.sampled_from([news(), message(), feedback(), news(symbols=["A"], body="b", deep={})])


def _sound(value: bytes | None) -> None:
    for read in READERS:
        said = _refusal(read, value)
        assert said is None or (0 < len(said) < 1_000 and "\n" not in said)


def _refusal(read: Callable[[bytes | None], object], value: bytes | None) -> str | None:
    try:
        read(value)
    except RecordRejected as rejected:
        return rejected.message
    return None


@given(st.none() | st.binary(max_size=400))
def test_random_bytes(value: bytes | None) -> None:
    _sound(value)


@given(json_values)
def test_random_json(value: Any) -> None:
    _sound(orjson.dumps(value))


@given(st.dictionaries(st.sampled_from(NAMES), json_values))
def test_random_values_under_real_names(value: dict[str, Any]) -> None:
    _sound(orjson.dumps(value))


@given(records, st.dictionaries(st.sampled_from(NAMES), json_values, max_size=3))
@example(news(), {"published_at": "0001-01-01T00:00:00+14:00"})
@example(news(), {"published_at": "9999-12-31T23:59:60-23:59"})
def test_records_with_a_few_fields_replaced(record: dict[str, Any], other: dict[str, Any]) -> None:
    _sound(orjson.dumps({**record, **other}))


@given(records, st.data())
def test_records_with_damaged_bytes(record: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(as_bytes(record))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(len(value), start + 8)))
        value[start:end] = data.draw(st.binary(max_size=8))
    _sound(bytes(value))


@given(records, st.integers(0, 300))
def test_records_cut_short(record: dict[str, Any], length: int) -> None:
    _sound(as_bytes(record)[:length])
