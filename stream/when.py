"""Times as an operator writes them: `2h` ago, a date, or an instant."""

import re
from datetime import UTC, datetime, timedelta

from schemas.times import parse_rfc3339

_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_span(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `7d` or `4w`. Raises ValueError."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no span such as 30m, 2h, 7d or 4w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_when(text: str, now: datetime) -> datetime:
    """A span before now, a date (its start in UTC), or an instant with zone. Raises ValueError."""
    if _SPAN.fullmatch(text.strip()):
        try:
            return now - parse_span(text)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r}: {error}; expected 2h, 7d, 2026-11-22 or 2026-11-22T06:10:00Z"
        ) from None


def age(span: timedelta) -> str:
    """In the largest unit that fits, such as 3 min; never negative."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
