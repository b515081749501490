"""The alerts' semantics once more, as plainly as Python can say it, to compare the script with.

It keeps all that may still matter and looks through all of it. Times are milliseconds.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from stream.alerts import Judged, Match, RecordVersion

DAY_MS = 86_400_000
TEN_MINUTES_MS = 600_000
NEWEST_EVENTS = 20

About = tuple[str, str]  # rule and key


@dataclass(frozen=True)
class ModelAlert:
    rule: str
    key: str
    event_id: str
    event_ms: int
    keep_ms: int
    needed: int
    count: int
    events: tuple[tuple[int, str], ...]
    raised_again: int = 0

    @property
    def identity(self) -> tuple[str, str, str, int]:
        return (self.rule, self.key, self.event_id, self.raised_again)

    @property
    def newest_ms(self) -> int:
        return self.events[-1][0]


@dataclass
class Known:
    """An event that matched: its newest version, what that matches, and what was ever raised."""

    version: RecordVersion | None = None
    matched: list[About] = field(default_factory=list)
    raised: dict[About, ModelAlert] = field(default_factory=dict)


@dataclass
class AlertModel:
    known: dict[tuple[str, str], Known] = field(default_factory=dict)
    seen: dict[About, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    cooling: dict[About, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    active: dict[About, ModelAlert] = field(default_factory=dict)
    stream: list[tuple[str, tuple[str, str, str, int]]] = field(default_factory=list)

    def judge(self, events: list[Judged], now_ms: int) -> list[tuple[ModelAlert, ...]]:
        answers = [self._judge_one(event) for event in events]
        over = [a for a in self.active.values() if a.newest_ms + a.keep_ms < now_ms]
        for alert in over:
            del self.active[alert.rule, alert.key]
            self._say("resolved", alert)
        return answers

    def _judge_one(self, event: Judged) -> tuple[ModelAlert, ...]:
        identity = (event.stream, event.event_id)
        known = self.known.get(identity)
        if known is None:
            if not event.matches or event.old:
                return ()
            known = self.known[identity] = Known()
        before = known.version
        if before is None or event.version.origin.follows(before.origin):
            if before is None or event.version.content != before.content:
                self._judge_version(event, known)
            known.version = event.version
        return tuple(known.raised.values())

    def _judge_version(self, event: Judged, known: Known) -> None:
        now = {
            (match.rule, match.key): match
            for match in event.matches
            if not event.old or (match.rule, match.key) in known.matched
        }
        for about in known.matched:
            if about not in now:
                self._withdraw(about, event.event_id, known)
        for about, match in now.items():
            if about not in known.matched and (alert := self._match(event, match, known)):
                known.raised[about] = alert
        known.matched = list(now)

    def _withdraw(self, about: About, event_id: str, known: Known) -> None:
        _take_out(self.seen[about], event_id)
        alert = self.active.get(about)
        if alert and event_id in [behind for _, behind in alert.events]:
            left = tuple(each for each in alert.events if each[1] != event_id)
            if left and alert.count > alert.needed:
                self.active[about] = replace(alert, count=alert.count - 1, events=left)
            else:
                del self.active[about]
                self._say("resolved", alert)
                _take_out(self.cooling[about], alert.event_id)
        active = self.active.get(about)
        if about in known.raised and not (active and active.event_id == event_id):
            _take_out(self.cooling[about], event_id)

    def _match(self, event: Judged, match: Match, known: Known) -> ModelAlert | None:
        about = (match.rule, match.key)
        ms = ms_of(event)
        if match.count > 1:
            _remember(self.seen[about], (ms, event.event_id), match.window_ms)
        active = self.active.get(about)
        if active and active.event_id == event.event_id:
            self._take_in(about, active, event)
            return None
        if any(abs(ms - other) < match.cool_down_ms for other, _ in self.cooling[about]):
            if active and abs(ms - active.event_ms) < match.cool_down_ms:
                self._take_in(about, active, event)
            return None
        behind = [(ms, event.event_id)] if match.count == 1 else self._full_window(match, ms)
        if not behind:
            return None
        before = known.raised.get(about)
        alert = ModelAlert(
            rule=match.rule,
            key=match.key,
            event_id=event.event_id,
            event_ms=ms,
            keep_ms=max(match.cool_down_ms, match.window_ms, TEN_MINUTES_MS),
            needed=match.count,
            count=len(behind),
            events=tuple(behind[-NEWEST_EVENTS:]),
            raised_again=before.raised_again + 1 if before else 0,
        )
        _remember(self.cooling[about], (ms, event.event_id), match.cool_down_ms)
        self._say("firing", alert)
        self._activate(about, alert)
        return alert

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
        return sorted(self.seen[match.rule, match.key])

    def _window(self, match: Match, end: int) -> list[tuple[int, str]]:
        return [each for each in self._members(match) if end - match.window_ms < each[0] <= end]

    def _take_in(self, about: About, alert: ModelAlert, event: Judged) -> None:
        behind = sorted([*alert.events, (ms_of(event), event.event_id)], key=lambda each: each[0])
        newest = tuple(behind[-NEWEST_EVENTS:])
        self.active[about] = replace(alert, count=alert.count + 1, events=newest)

    def _activate(self, about: About, alert: ModelAlert) -> None:
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


def _remember(kept: list[tuple[int, str]], each: tuple[int, str], span_ms: int) -> None:
    """A day and a span behind the newest is forgotten."""
    kept.append(each)
    oldest = max(kept)[0] - span_ms - DAY_MS
    kept[:] = [other for other in kept if other[0] >= oldest]


def _take_out(kept: list[tuple[int, str]], event_id: str) -> None:
    kept[:] = [each for each in kept if each[1] != event_id]


def ms_of(event: Judged) -> int:
    return round(event.event_time.timestamp() * 1000)
