from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import format_milliseconds, format_rfc3339, parse_rfc3339

zones = st.builds(
    lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-23 * 60, 23 * 60)
)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T06:10:00Z", datetime(2026, 11, 22, 6, 10, tzinfo=UTC)),
        ("2026-11-22t06:10:00z", datetime(2026, 11, 22, 6, 10, tzinfo=UTC)),
        ("2026-11-22T07:10:00+01:00", datetime(2026, 11, 22, 6, 10, tzinfo=UTC)),
        ("2026-11-22T06:10:00-00:00", datetime(2026, 11, 22, 6, 10, tzinfo=UTC)),
        ("2026-11-22T06:10:00.5Z", datetime(2026, 11, 22, 6, 10, 0, 500_000, tzinfo=UTC)),
        (
            "2026-11-22T06:10:00.123456789Z",
            datetime(2026, 11, 22, 6, 10, 0, 123_456, tzinfo=UTC),
        ),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_reads_rfc3339(text: str, instant: datetime) -> None:
    assert parse_rfc3339(text) == instant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-11-22T06:10:00", "a time without a zone"),
        ("2026-11-22", "not in the form of RFC 3339"),
        ("2026-11-22 06:10:00Z", "not in the form of RFC 3339"),
        ("2026-11-22T06:10Z", "not in the form of RFC 3339"),
        ("20261122T061000Z", "not in the form of RFC 3339"),
        ("2026-W47-7T06:10:00Z", "not in the form of RFC 3339"),
        ("2026-11-22T06:10:00+0100", "not in the form of RFC 3339"),
        ("2026-11-22T06:10:00+24:00", "not in the form of RFC 3339"),
        ("2026-11-22T06:10:00Z\n", "not in the form of RFC 3339"),
        ("٢٠٢٦-11-22T06:10:00Z", "not in the form of RFC 3339"),
        ("1763791800", "not in the form of RFC 3339"),
        ("", "not in the form of RFC 3339"),
        ("2026-02-30T06:10:00Z", "no such date or time of day"),
        ("2026-11-22T25:10:00Z", "no such date or time of day"),
        ("2026-11-22T06:10:61Z", "no such date or time of day"),
    ],
)
def test_refuses_everything_else(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_rfc3339(text)


@pytest.mark.parametrize("text", ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_instants_before_time_are_the_earliest(text: str) -> None:
    assert parse_rfc3339(text) == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-01:00", "9999-12-31T23:59:60Z"])
def test_instants_after_time_are_the_latest(text: str) -> None:
    assert parse_rfc3339(text) == datetime.max.replace(tzinfo=UTC)


@given(st.datetimes(timezones=zones, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))
def test_what_is_written_is_read_back(instant: datetime) -> None:
    assert parse_rfc3339(format_rfc3339(instant)) == instant


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"))
def test_a_text_is_an_instant_in_utc_or_a_plain_reason(text: str) -> None:
    assert _reason(text) in {
        None,
        "not in the form of RFC 3339",
        "a time without a zone",
        "no such date or time of day",
    }


def _reason(text: str) -> str | None:
    try:
        assert parse_rfc3339(text).tzinfo is UTC
    except ValueError as error:
        return str(error)
    return None


def test_milliseconds_are_always_there_and_microseconds_where_needed() -> None:
    instant = datetime(2026, 11, 22, 7, 10, tzinfo=timezone(timedelta(hours=1)))
    assert format_rfc3339(instant) == "2026-11-22T06:10:00.000Z"
    finer = instant.replace(microsecond=1_234)
    assert format_rfc3339(finer) == "2026-11-22T06:10:00.001234Z"
    assert format_milliseconds(finer) == "2026-11-22T06:10:00.001Z"


def test_an_instant_without_zone_is_not_written() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        format_rfc3339(datetime(2026, 11, 22))
