from datetime import UTC, datetime, timedelta

import pytest

from stream.when import age, parse_span, parse_when

NOW = datetime(2026, 11, 22, 6, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        (" 2h ", NOW - timedelta(hours=2)),
        ("4w", NOW - timedelta(days=28)),
        ("999999w", datetime.min.replace(tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T08:00:00+02:00", datetime(2026, 11, 20, 6, tzinfo=UTC)),
    ],
)
def test_times_that_people_write(text: str, expected: datetime) -> None:
    assert parse_when(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2y", "2026-13-01", "2026-11-20T08:00:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_when(text, NOW)


@pytest.mark.parametrize("text", ["", "7", "d", "2026-11-20", "1.5d"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="is no span such as"):
        parse_span(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d")],
)
def test_an_age_is_short(seconds: int, said: str) -> None:
    assert age(timedelta(seconds=seconds)) == said
