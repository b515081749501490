"""Which stamps of Kafka are believed, and what is judged where there is none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrival import LOG_APPEND_TIME, Arrival
from schemas.decoding import MAX_AHEAD, MIN_EVENT_TIME

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CREATE_TIME = 0
MILLISECONDS = NOW.timestamp() * 1000


def told(milliseconds: float | None, stamp_type: int | None = CREATE_TIME) -> Arrival:
    return Arrival.told(milliseconds, stamp_type, NOW)


@pytest.mark.parametrize(
    "milliseconds",
    [
        None,
        -1,
        0,
        NOW.timestamp(),  # seconds
        MILLISECONDS * 1_000,
        MILLISECONDS * 1_000_000,
        2**63 - 1,
        -(2**63),
        float("nan"),
        float("inf"),
        946_684_799_999,  # the last of 1999
        MILLISECONDS + 86_400_001,
    ],
)
@pytest.mark.parametrize("stamp_type", [CREATE_TIME, LOG_APPEND_TIME, None, 7])
def test_what_cannot_be_true_is_no_stamp(milliseconds: float | None, stamp_type: int) -> None:
    arrival = told(milliseconds, stamp_type)
    assert arrival.stamp is None
    assert arrival.latest == NOW
    assert arrival.age(NOW - timedelta(hours=2)) == timedelta(hours=2)


@pytest.mark.parametrize("milliseconds", [946_684_800_000, MILLISECONDS, MILLISECONDS + 86_400_000])
def test_what_can_be_true_is_one(milliseconds: float) -> None:
    stamp = told(milliseconds).stamp
    assert stamp is not None
    assert stamp.timestamp() * 1000 == milliseconds


def test_a_brokers_stamp_bounds_the_future_and_a_senders_does_not() -> None:
    hour_ago = MILLISECONDS - 3_600_000
    assert told(hour_ago, LOG_APPEND_TIME).latest == NOW - timedelta(hours=1)
    assert told(hour_ago).latest == NOW


def test_a_senders_stamp_from_long_before_the_event_tells_nothing_of_its_age() -> None:
    in_2003, event = 1_050_000_000_000, NOW - timedelta(days=3)
    assert told(in_2003).age(event) == timedelta(days=3)
    assert told(in_2003, LOG_APPEND_TIME).age(event) < timedelta(0)
    assert told(MILLISECONDS - 3_600_000).age(NOW) == timedelta(hours=-1)


@given(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(),
    st.none() | st.integers(-1, 2),
    st.datetimes(MIN_EVENT_TIME.replace(tzinfo=None), datetime(2026, 11, 23, 12)),
)
def test_every_stamp_gives_an_age(
    milliseconds: float | None, stamp_type: int | None, event_time: datetime
) -> None:
    arrival = told(milliseconds, stamp_type)
    assert MIN_EVENT_TIME <= arrival.latest <= NOW + MAX_AHEAD
    assert isinstance(arrival.age(event_time.replace(tzinfo=UTC)), timedelta)
