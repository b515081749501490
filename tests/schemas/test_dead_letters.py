from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import MAX_KEPT_VALUE_BYTES, DeadLetter
from schemas.errors import Reason, RecordRejected
from tests.schemas.samples import ARRIVED

LETTER = DeadLetter(
    value=b"\xff not JSON",
    key=b"k",
    topic="ns-financial-news",
    partition=3,
    offset=41,
    reason=Reason.UNDECODABLE,
    message="not UTF-8 at byte 0, expected JSON in UTF-8",
    failed_at=ARRIVED,
)
keys = st.none() | st.binary(max_size=50)


def test_headers_of_the_contract() -> None:
    assert dict(LETTER.headers()) == {
        "origin-topic": b"ns-financial-news",
        "origin-partition": b"3",
        "origin-offset": b"41",
        "reason": b"undecodable",
        "message": b"not UTF-8 at byte 0, expected JSON in UTF-8",
        "failed-at": b"2026-11-22T06:10:00.000Z",
    }


def test_the_six_reasons() -> None:
    assert {*Reason} == {
        "undecodable",
        "invalid",
        "too_large",
        "time_out_of_range",
        "rejected_by_index",
        "model_error",
    }


@given(keys, keys, st.sampled_from([*Reason]), st.text(max_size=200))
def test_kafka_and_back(key: bytes | None, value: bytes | None, reason: Reason, said: str) -> None:
    message = said.encode(errors="replace").decode()
    letter = replace(LETTER, key=key, value=value, reason=reason, message=message)
    assert DeadLetter.from_kafka(letter.key, letter.value, letter.headers()) == letter


def test_the_identity_is_the_origin() -> None:
    assert replace(LETTER, reason=Reason.INVALID, value=b"").identity == LETTER.identity
    assert replace(LETTER, offset=42).identity != LETTER.identity


def test_a_larger_value_is_cut_and_says_so() -> None:
    large = replace(LETTER, value=b"x" * (MAX_KEPT_VALUE_BYTES + 1), key=b"k" * 1_000_000)
    fitted = large.fitted()
    assert fitted.value is not None
    assert len(fitted.value) == MAX_KEPT_VALUE_BYTES
    assert dict(fitted.headers())["truncated-from"] == b"4194305"
    parts = [fitted.value, fitted.key or b"", *(text for _, text in fitted.headers())]
    assert sum(map(len, parts)) < 5 << 20
    assert DeadLetter.from_kafka(fitted.key, fitted.value, fitted.headers()) == fitted


def test_what_fits_is_not_cut() -> None:
    whole = replace(LETTER, value=b"x" * MAX_KEPT_VALUE_BYTES)
    assert whole.fitted() == whole
    assert replace(LETTER, value=None, key=None).fitted().value is None


@pytest.mark.parametrize(
    ("header", "content", "said"),
    [
        ("origin-offset", None, "the header origin-offset is missing"),
        ("origin-offset", b"x", "a header cannot be read"),
        ("reason", b"bad mood", "a header cannot be read"),
        ("failed-at", b"now", "a header cannot be read"),
        ("message", b"\xff", "a header cannot be read"),
    ],
)
def test_strangers_in_the_topic(header: str, content: bytes | None, said: str) -> None:
    headers = dict(LETTER.headers())
    del headers[header]
    if content is not None:
        headers[header] = content
    with pytest.raises(RecordRejected, match=said):
        DeadLetter.from_kafka(b"k", b"v", [*headers.items()])
