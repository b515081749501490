"""The events of the benchmarks are records that the worker takes."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.common.corpus import FILE, Post, events, posts
from schemas.decoding import decode
from schemas.errors import ConfigurationError
from schemas.records import Kind
from schemas.sources import load_sources

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def write(folder: Path, texts: list[str]) -> None:
    with gzip.open(folder / FILE, "wt", encoding="utf-8") as lines:
        for text in texts:
            lines.write(json.dumps({"text": text, "ticker": "ACME"}) + "\n")


def test_each_text_comes_once_spread_over_the_set(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b", "b", " ", "c", "a", "d"])
    assert [post.text for post in posts(tmp_path, 2)] == ["a", "c"]
    assert sorted(post.text for post in posts(tmp_path, 4)) == ["a", "b", "c", "d"]


def test_what_is_missing_is_said_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--data"):
        posts(tmp_path, 1)
    write(tmp_path, ["a"])
    with pytest.raises(ConfigurationError, match="has 1 different texts, not 2"):
        posts(tmp_path, 2)


def test_events_are_valid_records_of_both_kinds() -> None:
    sources = {source.kind: source for source in load_sources()}
    made = events([Post("Profit rises", "ACME"), Post("Where is my card?", "ACME")], "run")
    assert [event.kind for event in made] == [Kind.NEWS, Kind.MESSAGE]
    for event in made:
        topic, value = event.record(NOW)
        record = decode(value, sources[event.kind], NOW).record
        assert topic == event.kind.stream
        assert (record.id, record.text, record.event_time) == (event.id, event.text, NOW)
