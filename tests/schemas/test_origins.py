from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.origins import Origin

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

origins = st.builds(
    Origin,
    topic=st.sampled_from(["news", "wire"]),
    partition=st.integers(0, 1),
    offset=st.integers(0, 2),
    received_at=st.sampled_from([None, NOON, NOON + timedelta(milliseconds=1)]),
)


def at(offset: int, seconds: float = 0, partition: int = 0, **changes: bool) -> Origin:
    return Origin("news", partition, offset, NOON + timedelta(seconds=seconds), **changes)


def test_in_a_partition_the_offset_decides_whatever_the_stamps_say() -> None:
    assert at(8, -7200).follows(at(7))
    assert not at(7, 7200).follows(at(8))  # a producer's clock
    assert not at(7).follows(at(7))


def test_across_partitions_the_stamp_decides_then_the_offset() -> None:
    assert at(3, 1, partition=1).follows(at(8))
    assert not at(8).follows(at(3, 1, partition=1))
    assert at(8).follows(at(3, partition=1))


def test_a_topic_that_was_made_anew_begins_with_newer_records() -> None:
    assert at(0, 3601, appended=True).follows(at(900))
    assert not at(0, 3599, appended=True).follows(at(900))


@given(origins, origins)
def test_of_two_one_is_the_newer(one: Origin, other: Origin) -> None:
    same = (one.topic, one.partition, one.offset) == (other.topic, other.partition, other.offset)
    assert one.follows(other) + other.follows(one) == (0 if same else 1)


def test_documents_hold_it() -> None:
    for origin in (at(7, 0.25), Origin("news", 3, 1)):
        assert Origin.of(origin.fields()) == origin


@pytest.mark.parametrize(
    "document",
    [
        {"id": "n"},
        {"origin": None},
        {"origin": {"topic": "news", "offset": 7}},
        {"origin": {"topic": "news", "partition": "x", "offset": 7}},
        {"origin": {"topic": "news", "partition": 0, "offset": 7}, "received_at": "yesterday"},
    ],
)
def test_what_somebody_wrote_by_hand_has_none(document: dict[str, object]) -> None:
    assert Origin.of(document) is None


def test_the_order_is_one_for_all() -> None:
    """With stamps that grow along partitions, as a broker's do, it has no circles."""
    every = [
        at(offset, offset * 0.001, partition) for offset, partition in product(range(3), (0, 1))
    ]
    ranks = [sum(one.follows(other) for other in every) for one in every]
    assert sorted(ranks) == list(range(len(every)))
