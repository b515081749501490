from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.decoding import decode
from schemas.errors import ConfigurationError, RecordRejected
from schemas.records import Kind, NewsRecord
from schemas.sources import Source, load_sources, parse_map, with_fields
from tests.schemas.samples import ARRIVED, MESSAGE_SOURCE, NEWS_SOURCE, news

WIRE = Source(
    topic="wire",
    kind=Kind.NEWS,
    fields={"headline": "msg.title", "published_at": "msg.when", "symbols": "ticker"},
    values={"source": "wire", "language": "en"},
)
THEIRS: dict[str, Any] = {
    "id": "w-1",
    "msg": {"title": "Mill closes", "when": "2026-11-22T06:09:00Z", "desk": "eu"},
    "ticker": "MLL",
    "editor": "kim",
}


def written(folder: Path, text: str) -> Path:
    path = folder / "sources.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_sources_are_the_two_topics() -> None:
    assert load_sources() == (NEWS_SOURCE, MESSAGE_SOURCE)


def test_our_own_records_stay_as_they_are() -> None:
    record = news(editor="kim")
    mapped, unknown = NEWS_SOURCE.apply(record)
    assert mapped is record
    assert unknown == 1


def test_fields_are_mapped_and_constants_fill_what_is_absent() -> None:
    mapped, unknown = WIRE.apply(THEIRS)
    assert mapped == {
        "id": "w-1",
        "headline": "Mill closes",
        "published_at": "2026-11-22T06:09:00Z",
        "symbols": ["MLL"],
        "source": "wire",
        "language": "en",
    }
    assert unknown == 1


def test_a_mapped_record_is_decoded() -> None:
    decoded = decode(orjson.dumps(THEIRS), WIRE, ARRIVED)
    assert isinstance(decoded.record, NewsRecord)
    assert decoded.record.symbols == ("MLL",)
    assert decoded.unknown_fields == 1


def test_constants_yield_to_the_record_and_stand_in_for_null() -> None:
    mapped, _ = WIRE.apply({**THEIRS, "source": "desk", "language": None})
    assert (mapped["source"], mapped["language"]) == ("desk", "en")


def test_a_field_that_is_mapped_is_not_read_under_our_name() -> None:
    mapped, unknown = WIRE.apply({"id": "w-1", "headline": "ours"})
    assert "headline" not in mapped
    assert unknown == 0


def test_a_name_with_a_dot_in_it_comes_before_the_path() -> None:
    mapped, unknown = WIRE.apply({"msg.title": "flat", "msg": {"title": "deep"}})
    assert mapped["headline"] == "flat"
    assert unknown == 0


@pytest.mark.parametrize("msg", [None, 5, "title", ["title"], {}, {"title": None}])
def test_a_path_that_leads_nowhere_is_a_missing_field(msg: Any) -> None:
    with pytest.raises(RecordRejected, match=r"headline: (missing|null)"):
        decode(orjson.dumps({**THEIRS, "msg": msg}), WIRE, ARRIVED)


def test_a_list_is_only_made_of_a_text() -> None:
    mapped, _ = WIRE.apply({**THEIRS, "ticker": 7})
    assert mapped["symbols"] == 7


def test_a_users_file(tmp_path: Path) -> None:
    text = """
- topic: wire
  kind: news
  fields: {headline: msg.title, published_at: msg.when, symbols: ticker}
  values: {source: wire, language: en}
- topic: mail
  kind: message
  values:
    channel: email
"""
    wire, mail = load_sources(written(tmp_path, text))
    assert wire == WIRE
    assert mail.values == {"channel": "email"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: null, expected a list"),
        ("[]", "1: no source is given"),
        ("topic: a\nkind: news", "1: an object, expected a list"),
        ("- wire", "1: [0]: a text, expected names with values"),
        ("- topic: a", "1: [0].kind: missing"),
        ("- topic: a\n  kind: tweets", "2: [0].kind: 'tweets', it should be 'news' or 'message'"),
        ("- topic: a b\n  kind: news", "1: [0].topic: 'a b' is no topic name: letters, digits"),
        ("- topic: a\n  kind: news\n  map: {}", "3: [0].map: not a known name"),
        (
            "- topic: a\n  kind: news\n  fields:\n    title: x",
            "4: [0].fields.title: not a field of news records: they have id, published_at",
        ),
        ("- topic: a\n  kind: news\n  fields:\n    id: 5", "4: [0].fields.id: a number, expected"),
        (
            "- topic: a\n  kind: message\n  values:\n    channel: fax",
            "4: [0].values.channel: 'fax', expected one of email",
        ),
        (
            "- topic: a\n  kind: news\n  values:\n    symbols: [1]",
            "4: [0].values.symbols: a number, expected a list",
        ),
        ("- topic: a\n  kind: news\n- topic: a\n  kind: news", "3: [1].topic: a is already on"),
        ("- topic: labels\n  kind: news", "1: [0].topic: labels is a topic of the service"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_reason(
    tmp_path: Path, text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_sources(path)
    assert str(caught.value).startswith(f"{path}:{said}")


def test_maps_of_the_command_line() -> None:
    assert parse_map(["headline=text", " id = tweet.id "]) == {"headline": "text", "id": "tweet.id"}
    assert parse_map([]) == {}


@pytest.mark.parametrize("pairs", [["headline"], ["=text"], ["headline="], ["id=a", "id=b"]])
def test_maps_that_are_none(pairs: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="the mapping"):
        parse_map(pairs)


def test_fields_on_top_of_a_source() -> None:
    source = with_fields(WIRE, {"headline": "text"})
    assert source.apply({"text": "Mill closes"})[0]["headline"] == "Mill closes"
    assert source.fields["symbols"] == "ticker"
    with pytest.raises(ConfigurationError, match="text is not a field of news records"):
        with_fields(WIRE, {"text": "headline"})
