from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest

from schemas.decoding import decode
from schemas.documents import (
    Change,
    alert_change,
    content_digest,
    document,
    index_name,
    record_change,
)
from schemas.origins import Origin
from schemas.predictions import Classification
from schemas.records import Kind
from schemas.taxonomy import Taxonomy, load_taxonomy, own_task
from tests.schemas.samples import (
    ARRIVED,
    MESSAGE_SOURCE,
    NEWS_SOURCE,
    alert,
    as_bytes,
    classified,
    message,
    news,
)

TAXONOMY = load_taxonomy()
ORIGIN = Origin("ns-financial-news", 2, 17)


def written(
    value: bytes, kind: Kind, answers: Classification, taxonomy: Taxonomy = TAXONOMY
) -> dict[str, Any]:
    source = NEWS_SOURCE if kind is Kind.NEWS else MESSAGE_SOURCE
    return document(
        decode(value, source, ARRIVED).record,
        answers,
        risk=0.123456789,
        origin=ORIGIN,
        classified_at=ARRIVED,
        taxonomy=taxonomy,
    )


def test_a_news_document() -> None:
    answers = classified(TAXONOMY, Kind.NEWS, "negative", "financials")
    assert written(as_bytes(news(symbols=["HBK"])), Kind.NEWS, answers) == {
        "id": "wire-1",
        "published_at": "2026-11-22T06:09:58.000Z",
        "headline": "Harbour Bank halts withdrawals",
        "source": "wire",
        "symbols": ["HBK"],
        "sentiment": {"label": "negative", "confidence": 1.0, "value": -1.0},
        "topic": {"label": "financials", "confidence": 1.0},
        "risk": 0.123457,
        "flags": [],
        "model_version": "0123456789ab",
        "classified_at": "2026-11-22T06:10:00.000Z",
        "origin": {"topic": "ns-financial-news", "partition": 2, "offset": 17},
    }


def test_a_message_document() -> None:
    answers = classified(TAXONOMY, Kind.MESSAGE, "compromised_card", "fear", truncated=True)
    assert written(as_bytes(message(language="en")), Kind.MESSAGE, answers) == {
        "id": "m-1",
        "sent_at": "2026-11-22T06:09:58.250Z",
        "customer_id": "c-7",
        "channel": "chat",
        "text": "Somebody paid with my card and it was not me.",
        "language": "en",
        "sentiment": {"label": "negative", "confidence": 1.0, "value": -1.0},
        "intent": {"label": "compromised_card", "confidence": 1.0},
        "emotion": {"label": "fear", "confidence": 1.0},
        "risk": 0.123457,
        "flags": ["truncated"],
        "model_version": "0123456789ab",
        "classified_at": "2026-11-22T06:10:00.000Z",
        "origin": {"topic": "ns-financial-news", "partition": 2, "offset": 17},
    }


def test_a_foreign_text_is_flagged_and_its_answers_are_doubted() -> None:
    answers = classified(TAXONOMY, Kind.MESSAGE, "compromised_card", "fear", truncated=True)
    stored = written(as_bytes(message()), Kind.MESSAGE, answers.doubted("de"))
    assert stored["flags"] == ["truncated", "language:de"]
    for answer in ("sentiment", "intent", "emotion"):
        assert stored[answer]["confidence"] == 0.5
    assert stored["sentiment"]["label"] == "negative"
    assert stored["intent"]["label"] == "compromised_card"
    assert stored["emotion"]["label"] == "fear"
    assert "language" not in stored  # that is what the record says


def test_own_tasks_stand_in_a_list() -> None:
    taxonomy = TAXONOMY.with_task(own_task("message.topic", ["a", "b"])).with_task(
        own_task("message.urgency", ["high", "low"])
    )
    answers = classified(taxonomy, Kind.MESSAGE, "other", "joy", "b", "high")
    document = written(as_bytes(message()), Kind.MESSAGE, answers, taxonomy)
    assert document["tasks"] == [
        {"task": "message.topic", "label": "b", "confidence": 1.0},
        {"task": "message.urgency", "label": "high", "confidence": 1.0},
    ]
    assert "topic" not in document
    news_answers = classified(taxonomy, Kind.NEWS, "negative", "financials")
    assert "tasks" not in written(as_bytes(news()), Kind.NEWS, news_answers, taxonomy)


@pytest.mark.parametrize(
    ("event_time", "name"),
    [
        (ARRIVED, "ns-financial-news-2026.11"),
        (datetime(2026, 1, 1, tzinfo=UTC), "ns-financial-news-2026.01"),
        (
            datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))),
            "ns-financial-news-2025.12",
        ),
    ],
)
def test_the_index_is_the_month_in_utc(event_time: datetime, name: str) -> None:
    assert index_name("ns-", "financial-news", event_time) == name
    assert index_name("", "financial-news", event_time) == name.removeprefix("ns-")


def classified_news(offset: int, partition: int = 2, **changes: Any) -> Change:
    """What a record at an offset becomes."""
    record = decode(as_bytes(news(**changes)), NEWS_SOURCE, ARRIVED).record
    origin = Origin("ns-financial-news", partition, offset, ARRIVED)
    doc = document(
        record,
        classified(TAXONOMY, Kind.NEWS, "negative", "financials"),
        risk=0.5,
        origin=origin,
        classified_at=ARRIVED,
        taxonomy=TAXONOMY,
    )
    return record_change(record, doc, origin, "ns-")


def test_the_document_is_the_newest_record_whole_beside_what_others_added() -> None:
    first = classified_news(17, body="b", url="u", symbols=["HBK"], language="en")
    added = {
        "human": {"topic": "macro"},
        "human_labels": [{"task": "news.topic"}],
        "notes": ["of a program that we do not know"],
    }
    stored = {**first.doc, "tasks": [{"task": "news.esg"}], "entities": [], **added}
    second = classified_news(18)
    assert second.place == first.place == ("ns-financial-news-2026.11", "wire-1")
    assert second.onto(stored) == {**second.doc, **added}
    assert not {"body", "url", "symbols", "language", "tasks"} & second.onto(stored).keys()


def test_what_is_older_or_the_same_changes_nothing() -> None:
    stored = classified_news(18).doc
    for change in (classified_news(17, body="older"), classified_news(18)):
        assert change.onto(stored) == stored


def test_a_document_without_origin_gives_way() -> None:
    change = classified_news(0)
    assert change.onto({"id": "wire-1", "body": "b", "human": {}}) == {**change.doc, "human": {}}


def test_content_is_what_the_record_says_and_no_more() -> None:
    def digest(offset: int = 0, **changes: Any) -> str:
        return content_digest(classified_news(offset, **changes).doc, Kind.NEWS)

    assert digest() == digest(3, unknown="field") == digest(body=None)
    assert len({digest(), digest(body="b"), digest(symbols=["HBK"]), digest(url="u")}) == 4


def test_an_alert_that_comes_again_changes_nothing() -> None:
    raised = alert()
    change = alert_change(raised, "ns-")
    assert change.place == ("ns-alerts-2026.11", raised.id)
    assert change.doc == raised.as_dict()
    for stored in (raised.as_dict(), {**raised.as_dict(), "status": "resolved", "event_ids": []}):
        assert change.onto(stored) == stored


def test_a_resolved_alert_changes_its_status_and_no_more() -> None:
    stored = {**alert(count=3).as_dict(), "acknowledged": {"by": "ana"}}
    over = alert_change(alert(count=9, status="resolved"), "")
    assert over.onto(stored) == {**stored, "status": "resolved"}
    withdrawn = alert_change(alert(status="resolved", resolved_because="corrected"), "")
    told = {"status": "resolved", "resolved_because": "corrected"}
    assert withdrawn.onto(stored) == {**stored, **told}


def test_the_stages_of_an_alert_come_in_any_order() -> None:
    stages = [
        alert(),
        alert(status="resolved", resolved_because="corrected"),
        alert(raised_again=1, reason="again"),
        alert(raised_again=1, reason="again", status="resolved"),
    ]
    for order in permutations(stages[1:]):
        stored = {**stages[0].as_dict(), "acknowledged": {"by": "ana"}}
        for each in order:
            stored = alert_change(each, "").onto(stored)
        assert stored == {**stages[-1].as_dict(), "acknowledged": {"by": "ana"}}


def test_a_long_list_of_symbols_is_cut_with_a_flag() -> None:
    answers = classified(TAXONOMY, Kind.NEWS, "negative", "financials")
    symbols = [f"S{number}" for number in range(101)]
    cut = written(as_bytes(news(symbols=symbols)), Kind.NEWS, answers)
    whole = written(as_bytes(news(symbols=symbols[:100])), Kind.NEWS, answers)
    assert cut["symbols"] == whole["symbols"] == symbols[:100]
    assert (cut["flags"], whole["flags"]) == (["symbols_cut"], [])


def test_a_document_has_no_source_that_nobody_knows() -> None:
    answers = classified(TAXONOMY, Kind.NEWS, "negative", "financials")
    assert "source" not in written(as_bytes(news(source="")), Kind.NEWS, answers)
