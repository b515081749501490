"""Documents fit their strict mappings: a field that is missing there would refuse the document."""

from fnmatch import fnmatchcase
from typing import Any

import pytest

from schemas.alerts import Alert
from schemas.decoding import decode
from schemas.documents import document, index_name, index_templates
from schemas.mappings import PROPERTIES
from schemas.origins import Origin
from schemas.records import RECORD_TYPES, Kind
from schemas.taxonomy import load_taxonomy, own_task
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

TAXONOMY = (
    load_taxonomy()
    .with_task(own_task("news.esg", ["yes", "no"]))
    .with_task(own_task("message.urgency", ["high", "low"]))
)
LEAVES = {"keyword", "text", "date", "float", "integer", "long"}


def documents() -> dict[str, dict[str, Any]]:
    full_news = news(body="b", url="u", symbols=["HBK"], language="en")
    full_message = message(conversation_id="t", language="en")
    read = {
        Kind.NEWS: decode(as_bytes(full_news), NEWS_SOURCE, ARRIVED).record,
        Kind.MESSAGE: decode(as_bytes(full_message), MESSAGE_SOURCE, ARRIVED).record,
    }
    answers = {
        Kind.NEWS: classified(TAXONOMY, Kind.NEWS, "positive", "macro", "no", truncated=True),
        Kind.MESSAGE: classified(TAXONOMY, Kind.MESSAGE, "other", "joy", "high", truncated=True),
    }
    written = {
        kind.stream: document(
            record,
            answers[kind],
            risk=0.5,
            origin=Origin("t", 0, 0, ARRIVED),
            classified_at=ARRIVED,
            taxonomy=TAXONOMY,
        )
        for kind, record in read.items()
    }
    later = {
        "entities": [
            {
                "symbol": "HBK",
                "name": "Harbour Bank",
                "start": 0,
                "end": 12,
                "relevance": 0.9,
                "sentiment": {"label": "negative", "confidence": 0.9, "value": -0.8},
            }
        ],
        "human": {"sentiment": "negative", "topic": "macro", "intent": "other", "emotion": "joy"},
        "human_labels": [{"task": "news.topic", "annotator": "ana", "label": "macro"}],
    }
    again = alert(status="resolved", raised_again=1, resolved_because="corrected")
    records = {stream: {**content, **later} for stream, content in written.items()}
    drift = {
        "at": "2026-11-22T06:10:00Z",
        "worker": "host/1",
        "task": "message.intent",
        "model_version": "0123456789ab",
        "texts": 4,
        "labels": [{"label": "other", "texts": 3, "share": 0.75, "reference": 0.1}],
        "confidence_mean": 0.8,
        "abstained": 0.75,
        "unknown_tokens": 0.01,
        "psi_labels": 0.3,
        "psi_confidence": 0.2,
        "feedback": 2,
        "disagreement": 0.5,
    }
    return {**records, "alerts": again.as_dict(), "drift": drift}


def unmapped(content: dict[str, Any], properties: dict[str, Any], path: str = "") -> list[str]:
    missing = []
    for name, value in content.items():
        mapping = properties.get(name)
        if mapping is None:
            missing.append(path + name)
        elif "properties" in mapping:
            for item in value if isinstance(value, list) else [value]:
                missing += unmapped(item, mapping["properties"], f"{path}{name}.")
        elif mapping.get("enabled", True):
            assert mapping["type"] in LEAVES
            assert not isinstance(value, dict)
    return missing


@pytest.mark.parametrize("base", PROPERTIES)
def test_every_field_of_a_document_is_mapped(base: str) -> None:
    assert unmapped(documents()[base], PROPERTIES[base]) == []


def test_every_mapped_field_is_in_some_document() -> None:
    for base, content in documents().items():
        assert PROPERTIES[base].keys() == content.keys()


def test_records_and_alerts_are_mapped_whole() -> None:
    for kind, model in RECORD_TYPES.items():
        assert model.model_fields.keys() <= PROPERTIES[kind.stream].keys()
    assert Alert.model_fields.keys() == PROPERTIES["alerts"].keys()


def keywords(properties: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for mapping in properties.values():
        inner = {**mapping.get("properties", {}), **mapping.get("fields", {})}
        found += keywords(inner) + ([mapping] if mapping.get("type") == "keyword" else [])
    return found


def test_no_keyword_can_reach_what_lucene_refuses() -> None:
    for properties in PROPERTIES.values():
        assert keywords(properties)
        assert all(mapping["ignore_above"] * 4 < 32_766 for mapping in keywords(properties))


def strict(mapping: dict[str, Any]) -> bool:
    inner = [each for each in mapping["properties"].values() if "properties" in each]
    return mapping["dynamic"] == "strict" and all(strict(each) for each in inner)


def test_templates() -> None:
    templates = index_templates("ns-")
    assert [*templates] == ["ns-financial-news", "ns-customer-messages", "ns-alerts", "ns-drift"]
    for name, body in templates.items():
        template = body["template"]
        assert template["aliases"] == {name: {}}
        assert template["settings"] == {"number_of_shards": 1, "number_of_replicas": 0}
        assert strict(template["mappings"])


def test_replicas_are_a_setting() -> None:
    settings = index_templates("", replicas=2)["alerts"]["template"]["settings"]
    assert settings["number_of_replicas"] == 2


@pytest.mark.parametrize("prefix", ["", "ns-", "financial-news-", "alerts-", "20-"])
def test_an_index_gets_the_template_of_its_own_namespace(prefix: str) -> None:
    every = {
        name: body
        for each in ["", "ns-", "financial-news-", "alerts-", "20-"]
        for name, body in index_templates(each).items()
    }
    for base in PROPERTIES:
        index = index_name(prefix, base, ARRIVED)
        fitting = [n for n, b in every.items() if fnmatchcase(index, b["index_patterns"][0])]
        assert fitting == [prefix + base]
