"""Real texts from the shared data sets as records, and broken records of every sort."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.harness import Raw

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NEWS_SETS = ("twitter_fin_sentiment.jsonl", "sentfin.jsonl")
MESSAGE_SETS = ("banking77.jsonl", "cfpb.jsonl")

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the labelled sets of ../shared/data, which are not here"
)


def texts(names: tuple[str, ...], count: int) -> list[str]:
    """`count` distinct texts, spread evenly over the sets."""
    found = list(dict.fromkeys(text for name in names for text in _lines(DATA / name)))
    assert len(found) >= count
    return [found[position * len(found) // count] for position in range(count)]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def stamp(ahead: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + ahead).isoformat(timespec="milliseconds")


def news(identity: str, headline: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "published_at": stamp(),
        "headline": headline[:2000],
        "source": "test",
    } | more


def message(identity: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "sent_at": stamp(),
        "customer_id": f"customer-{hash(identity) % 97}",
        "channel": "chat",
        "text": text,
    } | more


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def corpus(count: int) -> list[Raw]:
    """`count` valid records with ids `n0…` and `m0…`, half of each kind, in turn."""
    half = count // 2
    headlines, messages = texts(NEWS_SETS, half), texts(MESSAGE_SETS, half)
    return [
        record
        for i in range(half)
        for record in (
            ("financial-news", encoded(news(f"n{i}", headlines[i]))),
            ("customer-messages", encoded(message(f"m{i}", messages[i]))),
        )
    ]


BROKEN: dict[str, tuple[bytes | None, str]] = {
    "truncated JSON": (b'{"id": "x", "headline": "Profit ri', "undecodable"),
    "null value": (None, "undecodable"),
    "empty value": (b"", "undecodable"),
    "invalid UTF-8": (b'{"id": "x", "headline": "\xff\xfe"}', "undecodable"),
    "lone surrogate": (b'{"id": "x", "headline": "\\ud800"}', "undecodable"),
    "nesting 10,000 deep": (b"[" * 10_000 + b"]" * 10_000, "undecodable"),
    "JSON array": (b"[1, 2]", "invalid"),
    "JSON string": (b'"Profit rises"', "invalid"),
    "gzip": (gzip.compress(b'{"id": "x"}'), "undecodable"),
    "2 MB value": (encoded(news("x", "h", body="b" * 2_000_000)), "too_large"),
    "wrong types": (encoded(news("x", "h", source=7)), "invalid"),
    "missing fields": (encoded({"id": "x"}), "invalid"),
    "empty text": (encoded(news("x", "")), "invalid"),
    "white-space text": (encoded(news("x", " \n\t ")), "invalid"),
    "a headline over 2,000 characters": (
        encoded(news("x", "h") | {"headline": "h" * 2001}),
        "invalid",
    ),
    "time without a zone": (encoded(news("x", "h", published_at="2026-01-01T00:00:00")), "invalid"),
    "year 1": (encoded(news("x", "h", published_at="0001-01-01T00:00:00Z")), "time_out_of_range"),
    "1970": (encoded(news("x", "h", published_at="1970-01-01T00:00:00Z")), "time_out_of_range"),
    "2100": (encoded(news("x", "h", published_at="2100-01-01T00:00:00Z")), "time_out_of_range"),
    "a number of 400 digits": (
        encoded(news("x", "h")).replace(b'"test"', b"9" * 400),
        "undecodable",
    ),
}
"""Records for `financial-news` by what is wrong with each, and the reason it must end with."""
