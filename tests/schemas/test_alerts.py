import hashlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.alerts import Alert, Severity, Status, alert_id, fingerprint
from tests.schemas.samples import alert

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts, texts, texts, texts)
def test_identities_are_digests_of_compact_json(rule: str, key: str, stream: str, id: str) -> None:
    def digest(parts: list[str]) -> str:
        text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    assert alert_id(rule, key, stream, id) == digest([rule, key, stream, id])
    assert fingerprint(rule, key) == digest([rule, key])


def test_json_and_back() -> None:
    raised = alert(reason="3 Nachrichten über Höfe in 10 Minuten", risk=0.1)
    assert Alert.from_json(raised.to_json()) == raised
    assert Alert.from_json(raised.to_json().encode()) == raised


def test_json_has_every_field_of_the_contract_and_plain_values() -> None:
    content = orjson.loads(alert().to_json())
    assert list(content) == [
        "id",
        "fingerprint",
        "rule",
        "severity",
        "status",
        "stream",
        "event_id",
        "event_ids",
        "key",
        "reason",
        "risk",
        "count",
        "event_time",
        "raised_at",
        "model_version",
    ]
    assert content["severity"] == "critical"
    assert content["status"] == "firing"
    assert content["event_time"] == "2026-11-22T06:10:00.000Z"
    assert alert().as_dict() == content


def test_whole_numbers_of_lua_are_read() -> None:
    text = alert(risk=1.0).to_json().replace('"risk":1.0', '"risk":1')
    assert Alert.from_json(text).risk == 1.0


@pytest.mark.parametrize(
    "changes",
    [{"risk": 1.1}, {"count": 0}, {"event_ids": []}, {"event_ids": ["e"] * 21}, {"id": "short"}],
)
def test_alerts_that_are_none(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        alert(**changes)


def test_words() -> None:
    assert [*Severity] == ["info", "warning", "critical"]
    assert [*Status] == ["firing", "resolved"]
