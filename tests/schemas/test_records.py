"""What the decoder accepts, and what it says about what it refuses."""

import gzip
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.decoding import MAX_VALUE_BYTES, decode, decode_feedback
from schemas.errors import Reason, RecordRejected
from schemas.records import Channel, Kind, MessageRecord, NewsRecord, evident_kind
from tests.schemas.samples import (
    ARRIVED,
    MESSAGE_SOURCE,
    NEWS_SOURCE,
    as_bytes,
    feedback,
    message,
    news,
)


def read_news(value: bytes | None) -> NewsRecord:
    record = decode(value, NEWS_SOURCE, ARRIVED).record
    assert isinstance(record, NewsRecord)
    return record


def read_message(value: bytes | None) -> MessageRecord:
    record = decode(value, MESSAGE_SOURCE, ARRIVED).record
    assert isinstance(record, MessageRecord)
    return record


def refused_news(value: bytes | None) -> tuple[Reason, str]:
    with pytest.raises(RecordRejected) as caught:
        decode(value, NEWS_SOURCE, ARRIVED)
    return caught.value.reason, caught.value.message


def refused_message(**changes: Any) -> tuple[Reason, str]:
    with pytest.raises(RecordRejected) as caught:
        decode(as_bytes(message(**changes)), MESSAGE_SOURCE, ARRIVED)
    return caught.value.reason, caught.value.message


def test_the_smallest_news_record() -> None:
    record = read_news(as_bytes(news()))
    assert record.id == "wire-1"
    assert record.event_time == datetime(2026, 11, 22, 6, 9, 58, tzinfo=UTC)
    assert record.text == "Harbour Bank halts withdrawals"
    assert record.kind is Kind.NEWS
    assert (record.body, record.url, record.symbols, record.language) == (None,) * 4


def test_a_full_news_record() -> None:
    more = {"body": "Queues.", "url": "https://a.example", "symbols": ["HBK"], "language": "en"}
    record = read_news(as_bytes(news(**more)))
    assert record.symbols == ("HBK",)
    assert record.text == "Harbour Bank halts withdrawals\n\nQueues."


def test_a_blank_body_adds_nothing_to_the_text() -> None:
    assert read_news(as_bytes(news(body=" \n"))).text == "Harbour Bank halts withdrawals"


def test_a_message() -> None:
    record = read_message(as_bytes(message(conversation_id="t-1")))
    assert record.channel is Channel.CHAT
    assert record.event_time == datetime(2026, 11, 22, 6, 9, 58, 250_000, tzinfo=UTC)
    assert record.text == "Somebody paid with my card and it was not me."
    assert record.kind.stream == "customer-messages"


def test_unknown_fields_are_counted_and_ignored() -> None:
    value = as_bytes(news(sector="banks", nested={"deep": [1, {"x": None}]}))
    assert decode(value, NEWS_SOURCE, ARRIVED).unknown_fields == 2


@pytest.mark.parametrize(
    "optional",
    [
        *({name: None} for name in ("body", "url", "symbols", "language")),
        *({name: blank} for name in ("body", "url", "language") for blank in ("", " \n\t")),
        *({"symbols": symbols} for symbols in ([], [""], ["", "  "])),
    ],
)
def test_null_in_an_optional_field_is_its_absence(optional: dict[str, Any]) -> None:
    assert read_news(as_bytes(news(**optional))) == read_news(as_bytes(news()))


@pytest.mark.parametrize(
    "harmless",
    [
        {"headline": "nul \0 inside"},
        {"headline": "x" * 2_000},
        {"headline": "😀" * 2_000},
        {"body": "b" * 100_000},
        {"id": "é" * 128},
        {"id": " "},
        {"id": "../*?\0"},
        {"symbols": ["S"] * 10_000},
        {"symbols": ["X" * 64]},
        {"published_at": "2000-01-01T00:00:00Z"},
        {"published_at": "2026-11-23T06:10:00Z"},
        {"huge": 10**18},
    ],
)
def test_harmless_oddities_pass(harmless: dict[str, Any]) -> None:
    record = read_news(as_bytes(news(**harmless)))
    for name in harmless.keys() - {"symbols", "published_at", "huge"}:
        assert getattr(record, name) == harmless[name]


def test_a_byte_order_mark_is_harmless() -> None:
    assert read_news(b"\xef\xbb\xbf" + as_bytes(news())) == read_news(as_bytes(news()))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "the value is null"),
        (b"", "the value is empty"),
        (b"\xef\xbb\xbf", "the value is empty"),
        (b" \r\n\t", "the value is only white space"),
        (as_bytes(news())[:-9], "not JSON"),
        (b"{'id': 'single quotes'}", "not JSON"),
        (as_bytes(news()) + as_bytes(news()), "not JSON"),
        (b'{"id": NaN}', "not JSON"),
        (as_bytes(news()).replace(b"Bank", b"B\xe4nk"), "not UTF-8 at byte"),
        (as_bytes(news()).replace(b"Bank", b"\\ud800"), "not JSON: no low surrogate"),
        (as_bytes(news()).replace(b"Bank", b"\xed\xa0\x80"), "not UTF-8 at byte"),
        (b'{"deep": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "depth limit exceeded"),
        (b'{"deep": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "depth limit exceeded"),
        (b'{"big": ' + b"9" * 400 + b"}", "number is infinity"),
        (gzip.compress(as_bytes(news())), "looks like gzip"),
        ('{"id": "1"}'.encode("utf-16"), "looks like UTF-16"),
        (b"\x00\x00\x00\x00\x07" + as_bytes(news()), "looks like binary data"),
        (b"\x00" * 5_000, "looks like binary data"),
    ],
)
def test_undecodable(value: bytes | None, words: str) -> None:
    reason, said = refused_news(value)
    assert reason is Reason.UNDECODABLE
    assert words in said


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"[]", "the value is a list, expected a JSON object"),
        (b'"text"', "the value is a text"),
        (b"null", "the value is null"),
        (b"12", "the value is a number"),
        (b"true", "the value is true or false"),
    ],
)
def test_json_of_another_shape_is_invalid(value: bytes, words: str) -> None:
    reason, said = refused_news(value)
    assert reason is Reason.INVALID
    assert words in said


HEADLINE = "expected text of 1 to 2,000 characters, not only white space"
IDENTITY = "expected text of 1 to 256 bytes in UTF-8"
TIME = "expected a time by RFC 3339 with zone, such as 2026-11-22T06:10:00Z"
SYMBOLS = "expected a list of texts of at most 64 characters each"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"headline": ...}, f"headline: missing, {HEADLINE}"),
        ({"headline": None}, f"headline: null, {HEADLINE}"),
        ({"headline": 7}, f"headline: a number, {HEADLINE}"),
        ({"headline": True}, f"headline: true or false, {HEADLINE}"),
        ({"headline": ["a"]}, f"headline: a list, {HEADLINE}"),
        ({"headline": {"en": "a"}}, f"headline: an object, {HEADLINE}"),
        ({"headline": ""}, f"headline: empty text, {HEADLINE}"),
        ({"headline": " \t\u2003"}, f"headline: only white space, {HEADLINE}"),
        ({"headline": "x" * 2_001}, f"headline: 2,001 characters, {HEADLINE}"),
        ({"body": "b" * 100_001}, "body: 100,001 characters, expected text of at most 100,000"),
        ({"id": ...}, f"id: missing, {IDENTITY}"),
        ({"id": ""}, f"id: 0 bytes, {IDENTITY}"),
        ({"id": "é" * 128 + "x"}, f"id: 257 bytes, {IDENTITY}"),
        ({"id": 12}, f"id: a number, {IDENTITY}"),
        (
            {"source": ...},
            "source: missing, expected text of at most 256 characters, empty where nobody knows",
        ),
        ({"symbols": "HBK"}, f"symbols: a text, {SYMBOLS}"),
        ({"symbols": ["HBK", 7]}, f"symbols[1]: a number, {SYMBOLS}"),
        ({"symbols": ["S" * 65]}, f"symbols[0]: 65 characters, {SYMBOLS}"),
        ({"symbols": ["", None]}, f"symbols[1]: null, {SYMBOLS}"),
        ({"published_at": ...}, f"published_at: missing, {TIME}"),
        ({"published_at": "2026-11-22T06:10:00"}, f"published_at: a time without a zone, {TIME}"),
        ({"published_at": "yesterday"}, f"published_at: not in the form of RFC 3339, {TIME}"),
        ({"published_at": 1763791800}, f"published_at: a number, {TIME}"),
        ({"published_at": "2026-02-30T00:00:00Z"}, "published_at: no such date or time of day"),
    ],
)
def test_invalid_news(changes: dict[str, Any], said: str) -> None:
    reason, words = refused_news(as_bytes(news(**changes)))
    assert reason is Reason.INVALID
    assert words.startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channel": "fax"}, "channel: 'fax', expected one of email, chat, phone, social, app"),
        ({"channel": "Chat"}, "channel: 'Chat', expected one of"),
        ({"channel": "fax " * 20}, "channel: a text of 80 characters, expected one of"),
        ({"channel": 1}, "channel: a number, expected one of"),
        ({"text": " "}, "text: only white space, expected text of 1 to 100,000 characters"),
        ({"text": "x" * 100_001}, "text: 100,001 characters, expected"),
        ({"customer_id": ...}, f"customer_id: missing, {IDENTITY}"),
        ({"conversation_id": 5}, "conversation_id: a number, expected text of at most 256"),
    ],
)
def test_invalid_messages(changes: dict[str, Any], said: str) -> None:
    reason, words = refused_message(**changes)
    assert reason is Reason.INVALID
    assert words.startswith(said)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"customer_id": "c1", "channel": "chat", "text": "a"}, Kind.MESSAGE),
        ({"headline": "a", "url": "b"}, Kind.NEWS),
        ({"customer_id": "c1", "sent_at": "now", "url": "b"}, Kind.MESSAGE),
        ({"headline": "a", "channel": "chat"}, None),
        ({"id": "1", "text": "a", "language": "de"}, None),
        ({"text": "a", "customer_id": None}, None),
    ],
)
def test_fields_tell_the_kind(fields: dict[str, Any], kind: Kind | None) -> None:
    assert evident_kind(fields) is kind


def test_three_errors_are_told_and_the_rest_counted() -> None:
    _, said = refused_news(b"{}")
    assert said.count("missing") == 3
    assert said.endswith("; and 1 more")


def test_a_rejection_does_not_hold_the_customers_words() -> None:
    secret = "my pin is 4711 " * 10_000
    with pytest.raises(RecordRejected) as caught:
        decode(as_bytes(message(text=secret, channel=secret)), MESSAGE_SOURCE, ARRIVED)
    assert "4711" not in caught.value.message
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "instant",
    [
        "0000-06-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1970-01-01T00:00:00Z",
        "1999-12-31T23:59:59.999Z",
        "2000-01-01T00:00:00+00:01",
        "2026-11-23T06:10:00.001Z",
        "2100-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_times_out_of_range(instant: str) -> None:
    reason, said = refused_news(as_bytes(news(published_at=instant)))
    assert reason is Reason.TIME_OUT_OF_RANGE
    assert said.startswith("published_at: ")
    reason, said = refused_message(sent_at=instant)
    assert reason is Reason.TIME_OUT_OF_RANGE
    assert said.startswith("sent_at: ")


def test_ahead_is_measured_from_the_arrival_in_kafka() -> None:
    value = as_bytes(news(published_at="2100-01-01T00:00:00Z"))
    arrived = datetime(2099, 12, 31, 12, tzinfo=UTC)
    assert decode(value, NEWS_SOURCE, arrived).record.event_time - arrived < timedelta(days=1)


def test_a_value_over_a_mebibyte_is_too_large_whatever_it_holds() -> None:
    for value in (as_bytes(news(body="x" * 2_000_000)), b"\xff" * 2_000_000):
        reason, said = refused_news(value)
        assert reason is Reason.TOO_LARGE
        assert "at most 1,048,576" in said


def test_a_value_of_a_mebibyte_is_not_too_large() -> None:
    padding = MAX_VALUE_BYTES - len(as_bytes(news(unknown="")))
    value = as_bytes(news(unknown="x" * padding))
    assert len(value) == MAX_VALUE_BYTES
    assert read_news(value).id == "wire-1"


def test_the_last_of_two_equal_names_counts() -> None:
    assert read_news(b'{"id": 5, ' + as_bytes(news())[1:]).id == "wire-1"


def test_records_are_frozen() -> None:
    record = read_news(as_bytes(news()))
    with pytest.raises(ValueError, match="frozen"):
        record.id = "other"


def test_feedback() -> None:
    record = decode_feedback(as_bytes(feedback(entity="Harbour Bank", selection="audit")), ARRIVED)
    assert record.label == "compromised_card"
    assert record.selection == "audit"


def test_a_null_label_takes_feedback_back_but_a_missing_one_is_an_error() -> None:
    assert decode_feedback(as_bytes(feedback(label=None)), ARRIVED).label is None
    with pytest.raises(RecordRejected, match="label: missing, expected text of 1 to 256"):
        decode_feedback(as_bytes(feedback(label=...)), ARRIVED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stream": "tweets"}, Reason.INVALID),
        ({"selection": "random"}, Reason.INVALID),
        ({"event_id": ""}, Reason.INVALID),
        ({"given_at": "1970-01-01T00:00:00Z"}, Reason.TIME_OUT_OF_RANGE),
    ],
)
def test_refused_feedback(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(RecordRejected) as caught:
        decode_feedback(as_bytes(feedback(**changes)), ARRIVED)
    assert caught.value.reason is reason


def test_feedback_may_hold_the_longest_text_of_a_record() -> None:
    longest = read_news(as_bytes(news(headline="h" * 2_000, body="b" * 100_000))).text
    assert decode_feedback(as_bytes(feedback(text=longest)), ARRIVED).text == longest


def test_a_typical_record_takes_microseconds() -> None:
    value = as_bytes(news(body="A plain sentence of news. " * 20, symbols=["HBK", "NRB"]))
    best = min(_seconds_of_100(value) for _ in range(10)) / 100
    assert best < 300e-6  # measured at 20 µs: this only sees a change of kind


def _seconds_of_100(value: bytes) -> float:
    start = time.perf_counter()
    for _ in range(100):
        decode(value, NEWS_SOURCE, ARRIVED)
    return time.perf_counter() - start


@pytest.mark.parametrize("source", ["", "  ", None])
def test_a_source_may_be_unknown_but_not_lacking(source: str | None) -> None:
    assert read_news(as_bytes(news(source=source))).source is None


def test_symbols_are_trimmed_and_each_there_once() -> None:
    assert read_news(as_bytes(news(symbols=[" HBK ", "NRB", "HBK\t"]))).symbols == ("HBK", "NRB")


def test_empty_symbols_are_left_out() -> None:
    assert read_news(as_bytes(news(symbols=["", "HBK", " "]))).symbols == ("HBK",)


def test_empty_fields_of_a_message_are_absent() -> None:
    record = read_message(as_bytes(message(conversation_id="", language=" ")))
    assert (record.conversation_id, record.language) == (None, None)
