"""Instants as RFC 3339 text: read strictly, always in UTC once read."""

import re
from datetime import UTC, datetime, timedelta

# The grammar of RFC 3339, section 5.6. [0-9], not \d: only ASCII digits are digits there.
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?P<zone>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


def parse_rfc3339(text: str) -> datetime:
    """The instant in UTC, cut to microseconds.

    An instant outside of what `datetime` can hold (year 0, or year 1 east of Greenwich) becomes
    the earliest or latest one it can, so that range checks see it for what it is.
    Raises ValueError with a plain reason.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not in the form of RFC 3339")
    if match["zone"] is None:
        raise ValueError("a time without a zone")
    if text.startswith("0000"):
        return _EARLIEST
    try:
        return _utc(text.upper())
    except ValueError:
        raise ValueError("no such date or time of day") from None


def _utc(text: str) -> datetime:
    leap = text[17:19] == "60"
    if leap:  # a leap second has no place in datetime: it is the second after :59
        text = f"{text[:17]}59{text[19:]}"
    local = datetime.fromisoformat(text)
    try:
        return local.astimezone(UTC) + timedelta(seconds=leap)
    except OverflowError:
        return _EARLIEST if local.year == 1 else _LATEST


def format_rfc3339(instant: datetime) -> str:
    """UTC with milliseconds, or microseconds where the instant has them: 2026-11-22T06:10:00.000Z.

    `instant` must know its zone.
    """
    precision = "microseconds" if instant.microsecond % 1000 else "milliseconds"
    return _format(instant, precision)


def format_milliseconds(instant: datetime) -> str:
    """UTC, cut to milliseconds: 2026-11-22T06:10:00.000Z. `instant` must know its zone."""
    return _format(instant, "milliseconds")


def _format(instant: datetime, precision: str) -> str:
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    naive = instant.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(timespec=precision) + "Z"
