"""The alerts' semantics once more, as plainly as Python can say it, to compare the script with.

It keeps everything for ever and looks through all of it. Times are milliseconds.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from stream.alerts import Judged, Match

DAY_MS = 86_400_000
TEN_MINUTES_MS = 600_000
NEWEST_EVENTS = 20


@dataclass(frozen=True)
class ModelAlert:
    rule: str
    key: str
    event_id: str
    event_ms: int
    keep_ms: int
    count: int
    events: tuple[tuple[int, str], ...]

    @property
    def identity(self) -> tuple[str, str, str]:
        return (self.rule, self.key, self.event_id)

    @property
    def newest_ms(self) -> int:
        return self.events[-1][0]


@dataclass
class AlertModel:
    outcomes: dict[tuple[str, str], tuple[ModelAlert, ...]] = field(default_factory=dict)
    seen: dict[tuple[str, str], list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    raised: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    active: dict[tuple[str, str], ModelAlert] = field(default_factory=dict)
    stream: list[tuple[str, tuple[str, str, str]]] = field(default_factory=list)

    def judge(self, events: list[Judged], now_ms: int) -> list[tuple[ModelAlert, ...]]:
        answers = [self._judge_one(event) for event in events]
        over = [a for a in self.active.values() if a.newest_ms + a.keep_ms < now_ms]
        for alert in over:
            del self.active[alert.rule, alert.key]
            self._say("resolved", alert)
        return answers

    def _judge_one(self, event: Judged) -> tuple[ModelAlert, ...]:
        identity = (event.stream, event.event_id)
        if identity not in self.outcomes and event.matches:
            found = [self._match(event, match) for match in event.matches]
            self.outcomes[identity] = tuple(alert for alert in found if alert)
        return self.outcomes.get(identity, ())

    def _match(self, event: Judged, match: Match) -> ModelAlert | None:
        about = (match.rule, match.key)
        ms = ms_of(event)
        if match.count > 1:
            self.seen[about].append((ms, event.event_id))
        if self._is_cooling(match, ms):
            self._join(event, match)
            return None
        behind = [(ms, event.event_id)] if match.count == 1 else self._full_window(match, ms)
        if not behind:
            return None
        alert = ModelAlert(
            rule=match.rule,
            key=match.key,
            event_id=event.event_id,
            event_ms=ms,
            keep_ms=max(match.cool_down_ms, match.window_ms, TEN_MINUTES_MS),
            count=len(behind),
            events=tuple(behind[-NEWEST_EVENTS:]),
        )
        self.raised[about].append(ms)
        self._say("firing", alert)
        self._activate(about, alert)
        return alert

    def _is_cooling(self, match: Match, ms: int) -> bool:
        """Alerts are remembered a day and a cool-down behind the newest."""
        raised = self.raised[match.rule, match.key]
        oldest = max(raised, default=0) - match.cool_down_ms - DAY_MS
        return any(other >= oldest and abs(ms - other) < match.cool_down_ms for other in raised)

    def _full_window(self, match: Match, ms: int) -> list[tuple[int, str]]:
        """The first full window that ends at the event, or at a later one, and holds the event."""
        members = self._members(match)
        if not any(time == ms for time, _ in members):
            return []
        ends = [time for time, _ in members if ms <= time < ms + match.window_ms]
        for end in sorted(ends):
            window = self._window(match, end)
            if len(window) >= match.count:
                return window
        return []

    def _members(self, match: Match) -> list[tuple[int, str]]:
        """What is kept: a day and a window behind the newest."""
        seen = self.seen[match.rule, match.key]
        newest = max(time for time, _ in seen)
        return sorted(each for each in seen if each[0] >= newest - match.window_ms - DAY_MS)

    def _window(self, match: Match, end: int) -> list[tuple[int, str]]:
        return [each for each in self._members(match) if end - match.window_ms < each[0] <= end]

    def _join(self, event: Judged, match: Match) -> None:
        about = (match.rule, match.key)
        alert = self.active.get(about)
        ms = ms_of(event)
        if alert and abs(ms - alert.event_ms) < match.cool_down_ms:
            behind = sorted([*alert.events, (ms, event.event_id)], key=lambda each: each[0])
            newest = tuple(behind[-NEWEST_EVENTS:])
            self.active[about] = replace(alert, count=alert.count + 1, events=newest)

    def _activate(self, about: tuple[str, str], alert: ModelAlert) -> None:
        other = self.active.get(about)
        if other is None:
            self.active[about] = alert
        elif other.newest_ms > alert.newest_ms:
            self._say("resolved", alert)
        else:
            self._say("resolved", other)
            self.active[about] = alert

    def _say(self, status: str, alert: ModelAlert) -> None:
        self.stream.append((status, alert.identity))


def ms_of(event: Judged) -> int:
    return round(event.event_time.timestamp() * 1000)
