"""Alerts in Redis: which events raise one, which are active, and the stream of their changes.

All state changes are one Lua script, `alert_state.lua` with `alert_store.lua`, idempotent by event
and content: an event that comes again, alone or in any batch, changes nothing and gets the answer
it got the first time. That also holds for a call whose answer was lost, so a caller may simply
repeat it. Errors of Redis are raised as they are.

What a window, a cool-down and a resolution mean:

- Windows are event time, (t - w, t]. A late event counts in every window that holds it: its own,
  and those of later events, which it may complete.
- A match within the cool-down of an alert of its rule and key, in either direction of event time,
  raises nothing. If that alert is active, the event joins those behind it: `count` and `event_ids`
  follow, while `reason` stays why it was raised. So `count` is how many events the window held,
  and how many have joined since.
- An alert is resolved when its newest event is older than its cool-down, its window and ten
  minutes; or when another one of its rule and key, beyond the cool-down, takes its place. Of two,
  the one with the newest event is active.
- A newer version of an event's record, with other content, is judged in the place of the one
  before. What it matches no longer is withdrawn: it leaves windows and alerts, and an alert with
  fewer events behind it than its rule asks for is resolved, because it was corrected. If a later
  version matches again, the same alert is raised again. What both match stays as it is. An event
  that never matched is not known, and an older version never takes the place of a newer one.
"""

import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from schemas.alerts import Alert, Status, alert_id, fingerprint
from stream.alerts import AlertEntry, Judged, Match, RecordVersion, Verdict
from stream.retry import pauses

REMEMBER_SECONDS = 7 * 86_400
OUTAGE_SECONDS = 60.0

_SCRIPT = [Path(__file__).with_name(name) for name in ("alert_state.lua", "alert_store.lua")]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_BLOCK_MS = 1000  # well under every socket timeout
_PAGE = 500
_LONGEST_PAUSE_SECONDS = 1.0
_COUNT_MARK = "\x01"
_FILLED_BY_THE_SCRIPT = {"status", "reason", "count", "event_ids"}
_T = TypeVar("_T")
_ALERTS = TypeAdapter(tuple[Alert, ...])


class AlertStore:
    """The alerts of one namespace; `prefix` is empty, or the namespace and a dash.

    The outcomes of events that matched a rule are remembered for `remember_seconds`, which must be
    at least the retention of the topics.
    """

    def __init__(
        self, redis: Redis, prefix: str, *, remember_seconds: int = REMEMBER_SECONDS
    ) -> None:
        if remember_seconds < REMEMBER_SECONDS:
            raise ValueError(f"remember_seconds is under {REMEMBER_SECONDS}")
        self._redis = redis
        self._root = f"{prefix}bellwether:"
        self._alerts = f"{self._root}alerts"
        self._remember_seconds = remember_seconds
        self._script = redis.register_script(
            "".join(part.read_text(encoding="utf-8") for part in _SCRIPT)
        )

    async def judge(self, events: Sequence[Judged], now: datetime) -> Verdict:
        """Raise what these events raise, and resolve what is over at `now`, in one step.

        Costs one call to Redis. Every event of a batch belongs in here, also one without a match:
        it may have had one when it came before.
        """
        fresh, outcomes, resolving = await self._script(
            keys=[self._outcome_key(event.stream, event.event_id) for event in events],
            args=[
                "judge",
                self._root,
                _ms(now),
                self._remember_seconds,
                _payload(events, now),
                *(_version(event.version) for event in events),
            ],
        )
        return Verdict(
            raised=tuple(_ALERTS.validate_json(json) if json else () for json in outcomes),
            fresh=tuple(map(Alert.from_json, fresh)),
            resolved=tuple(map(Alert.from_json, resolving)),
        )

    async def settled(self, alerts: Iterable[Alert]) -> None:
        """The documents of these alerts say resolved: later verdicts need not repeat it."""
        written = [{"id": alert.id, "again": alert.raised_again or 0} for alert in alerts]
        if written:
            await self._script(args=["settle", self._root, orjson.dumps(written)])

    async def active(self) -> list[Alert]:
        """The firing alerts, the last raised first."""
        found: list[Any] = await self._redis.hvals(f"{self._alerts}:active")
        return sorted(map(Alert.from_json, found), key=lambda alert: alert.raised_at, reverse=True)

    async def watch(
        self, after: str = "$", *, outage_seconds: float = OUTAGE_SECONDS
    ) -> AsyncIterator[AlertEntry]:
        """Follow the stream of alerts for ever, from behind entry `after`; "0" is the beginning.

        "$" is its end at the first step. An outage of Redis is waited through and loses no entry;
        one that lasts longer than `outage_seconds`, or is there from the start, is raised.
        """
        if after == "$":
            after = await self._last_entry()
        while True:
            for entry in await self._read(after, outage_seconds):
                after = entry.entry_id
                yield entry

    async def forget(self, stream: str, event_ids: Collection[str]) -> int:
        """Remove every trace of some events of a stream; answers how many alerts went with them.

        Alerts that one of them raised are deleted; from other active alerts, and from windows,
        their ids are taken out. What the stream of alerts says of others stays.
        """
        ids = list(event_ids)
        gone = await self._script(args=["forget", self._root, stream, orjson.dumps(ids)])
        deleted = {_text(alert) for alert in gone} | await self._delete_entries(stream, set(ids))
        for page in _pages(ids):
            await self._redis.delete(*(self._outcome_key(stream, event_id) for event_id in page))
            await self._redis.delete(*(self._version_key(stream, event_id) for event_id in page))
        await self._forget_in_windows(ids)
        return len(deleted)

    def _outcome_key(self, stream: str, event_id: str) -> str:
        return f"{self._root}outcome:{stream}:{event_id}"

    def _version_key(self, stream: str, event_id: str) -> str:
        return f"{self._root}version:{stream}:{event_id}"

    async def _last_entry(self) -> str:
        last: Any = await self._redis.xrevrange(self._alerts, count=1)
        return _text(last[0][0]) if last else "0"

    async def _read(self, after: str, outage_seconds: float) -> list[AlertEntry]:
        """The entries behind `after`, or none after a while; waits through an outage."""
        deadline = time.monotonic() + outage_seconds
        async for _ in pauses(_LONGEST_PAUSE_SECONDS):
            try:
                # XREAD waits; XRANGE reads, since its answer has one form in every protocol.
                if await self._redis.xread({self._alerts: after}, 1, _BLOCK_MS):
                    return await self._page_of_entries(f"({after}")
                return []
            except (RedisConnectionError, RedisTimeoutError):
                if time.monotonic() > deadline:
                    raise
        raise AssertionError("pauses never end")

    async def _delete_entries(self, stream: str, event_ids: Collection[str]) -> set[str]:
        """Delete the entries of alerts that these events raised; answers the alerts' ids."""
        deleted = set()
        after = "-"
        while page := await self._page_of_entries(after):
            doomed = [
                entry
                for entry in page
                if entry.alert.stream == stream and entry.alert.event_id in event_ids
            ]
            if doomed:
                await self._redis.xdel(self._alerts, *(entry.entry_id for entry in doomed))
            deleted |= {entry.alert.id for entry in doomed}
            after = f"({page[-1].entry_id}"
        return deleted

    async def _page_of_entries(self, first: str) -> list[AlertEntry]:
        found: Any = await self._redis.xrange(self._alerts, first, "+", _PAGE)
        return list(map(_entry, found))

    async def _forget_in_windows(self, event_ids: Sequence[str]) -> None:
        scan = self._redis.scan_iter(f"{self._root}window:*", count=_PAGE)
        windows = [window async for window in scan]
        for some in _pages(windows):
            pipeline = self._redis.pipeline(transaction=False)
            for window in some:
                for page in _pages(event_ids):
                    pipeline.zrem(window, *page)
            await pipeline.execute()


def _payload(events: Sequence[Judged], now: datetime) -> bytes:
    """The events with a match, for the script, each with its position from 1."""
    return orjson.dumps(
        [
            {
                "position": position,
                "id": event.event_id,
                "ms": _ms(event.event_time),
                "stream": event.stream,
                "old": event.old,
                "matches": [_match(event, match, now) for match in _distinct(event.matches)],
            }
            for position, event in enumerate(events, 1)
            if event.matches
        ]
    )


def _version(version: RecordVersion) -> bytes:
    """A version as the script compares it."""
    origin = version.origin
    return orjson.dumps(
        {
            "content": version.content,
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "stamp": _ms(origin.received_at) if origin.received_at else 0,
            "appended": origin.appended,
        }
    )


def _distinct(matches: Iterable[Match]) -> Iterable[Match]:
    return {(match.rule, match.key): match for match in matches}.values()


def _match(event: Judged, match: Match, now: datetime) -> dict[str, Any]:
    """A match as the script wants it: `head` is the JSON of the alert, without its end."""
    alert = Alert(
        id=alert_id(match.rule, match.key, event.stream, event.event_id),
        fingerprint=fingerprint(match.rule, match.key),
        rule=match.rule,
        severity=match.severity,
        status=Status.FIRING,
        stream=event.stream,
        event_id=event.event_id,
        event_ids=(event.event_id,),
        key=match.key,
        reason="".join(match.reason),
        risk=event.risk,
        count=1,
        event_time=event.event_time,
        raised_at=now,
        model_version=event.model_version,
    )
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "head": alert.model_dump_json(
            exclude=_FILLED_BY_THE_SCRIPT, exclude_none=True
        ).removesuffix("}"),
        "reason": _marked(match.reason),
        "count": match.count,
        "window_ms": match.window_ms,
        "cool_down_ms": match.cool_down_ms,
    }


def _marked(reason: Sequence[str]) -> str:
    """The JSON of a reason, with the script's mark wherever the count goes."""
    parts = (orjson.dumps(part).decode()[1:-1] for part in reason)
    return f'"{_COUNT_MARK.join(parts)}"'


def _ms(instant: datetime) -> int:
    return (instant - _EPOCH) // _MILLISECOND


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _pages(things: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (things[first : first + _PAGE] for first in range(0, len(things), _PAGE))


def _entry(found: tuple[Any, dict[Any, Any]]) -> AlertEntry:
    entry_id, fields = found
    (json,) = fields.values()
    return AlertEntry(_text(entry_id), Alert.from_json(json))
