"""Events, batches and what Redis holds of them, for the tests of the alert store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from schemas.alerts import Alert, Severity
from schemas.origins import Origin
from stream.alert_store import AlertStore
from stream.alerts import AlertEntry, Judged, Match, RecordVersion, Verdict

START = datetime(2026, 11, 22, 6, 0, 0, 123_000, tzinfo=UTC)
NEWS = "financial-news"
DAY_SECONDS = 86_400


def match(
    rule: str = "each",
    key: str = "ACME",
    *,
    count: int = 1,
    window: float = 0,
    cool_down: float = 0,
    reason: str = "because",
) -> Match:
    """Durations in seconds; {count} in the reason is where the store counts."""
    window_ms, cool_down_ms = int(window * 1000), int(cool_down * 1000)
    return Match(
        rule, key, Severity.WARNING, tuple(reason.split("{count}")), count, window_ms, cool_down_ms
    )


def version(content: str = "first", offset: int = 0, **changes: Any) -> RecordVersion:
    """Of a record in one partition."""
    return RecordVersion(content, Origin("news", 0, offset, **changes))


def event(event_id: str, seconds: float = 0.0, *matches: Match) -> Judged:
    """An event so many seconds after START, in its first version."""
    time = START + timedelta(seconds=seconds)
    return Judged(NEWS, event_id, time, 0.123456789012345, "model-1", matches, version())


def corrected(event_id: str, seconds: float, *matches: Match, offset: int = 1) -> Judged:
    """The same with other content, at a later offset."""
    return replace(event(event_id, seconds, *matches), version=version(f"content {offset}", offset))


def burst(event_id: str, seconds: float, *, window: float = 60, cool_down: float = 120) -> Judged:
    """An event under a rule of three in a minute, with a cool-down of two."""
    return event(
        event_id,
        seconds,
        match("burst", count=3, window=window, cool_down=cool_down, reason="{count} times"),
    )


async def judge(store: AlertStore, *events: Judged, after: float = 0) -> Verdict:
    """Judge at START, or so many seconds after."""
    return await store.judge(events, START + timedelta(seconds=after))


async def entries(redis: Redis, prefix: str) -> list[AlertEntry]:
    found: Any = await redis.xrange(f"{prefix}bellwether:alerts")
    return [AlertEntry(key, Alert.from_json(fields[b"alert"])) for key, fields in found]
