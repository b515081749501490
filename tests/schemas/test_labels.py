import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RecordRejected
from schemas.labels import LabelKey, LabelRecord, label_key, parse_label_key
from tests.schemas.samples import label

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_a_key_quotes_each_part() -> None:
    key = label_key("news.sentiment", "a/b c", "Ä & Co", "ana@bank")
    assert key == b"news.sentiment/a%2Fb%20c/%C3%84%20%26%20Co/ana%40bank"
    assert label_key("news.topic", "1", None, "x") == label_key("news.topic", "1", "", "x")
    assert parse_label_key(b"news.topic/1//x") == LabelKey("news.topic", "1", None, "x")


@given(NAMES, NAMES, st.none() | NAMES, NAMES)
def test_a_key_says_what_it_was_made_of(
    task: str, event_id: str, entity: str | None, annotator: str
) -> None:
    made = label_key(task, event_id, entity, annotator)
    assert parse_label_key(made) == (task, event_id, entity, annotator)


@pytest.mark.parametrize("key", [b"", b"m1", b"a/b/c", b"a/b/c/d/e", b"a/%ff/c/d"])
def test_another_key_is_refused(key: bytes) -> None:
    with pytest.raises(RecordRejected, match="no key of a label"):
        parse_label_key(key)


def test_a_label_is_read_as_it_was_written() -> None:
    record = label(text="[card] is gone", entity=None)
    assert LabelRecord.from_json(record.to_json()) == record
    assert record.key == b"message.intent/m-1//ana"
    without = label(model=None, selection=None)
    assert LabelRecord.from_json(without.to_json()) == without


def test_a_label_has_its_conversation_and_older_ones_have_none() -> None:
    record = label(conversation_id="t-7")
    assert LabelRecord.from_json(record.to_json()).conversation_id == "t-7"
    older = orjson.loads(record.to_json())
    del older["conversation_id"]
    assert LabelRecord.from_json(orjson.dumps(older)) == label()


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b'{"text": "secret"}'])
def test_what_is_no_label_is_refused_without_its_text(value: bytes) -> None:
    with pytest.raises(RecordRejected, match="not a label of this service") as refusal:
        LabelRecord.from_json(value)
    assert "secret" not in str(refusal.value)
