"""What passes between the rules, the pipeline and the store of alerts."""

from dataclasses import dataclass
from datetime import datetime

from schemas.alerts import Alert, Severity
from schemas.origins import Origin


@dataclass(frozen=True, slots=True)
class Match:
    """An event fits a rule under a key; whether that is an alert, the store decides.

    `count` events under the key within `window_ms` make an alert; 1 with no window: each event
    does. `reason` is a sentence in parts, between which the store puts the count. Within
    `cool_down_ms` of an alert, in event time and in both directions, no second one is raised; 0:
    each match is an alert.
    """

    rule: str
    key: str
    severity: Severity
    reason: tuple[str, ...]
    count: int = 1
    window_ms: int = 0
    cool_down_ms: int = 0


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """Which of the records that came under an id it is: its `content` as a digest, and where it
    stands."""

    content: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Judged:
    """An event with what the model and the rules said; `stream` is without namespace. `old` news
    raises nothing, but what an earlier version of it raised still stands while it matches."""

    stream: str
    event_id: str
    event_time: datetime
    risk: float
    model_version: str
    matches: tuple[Match, ...]
    version: RecordVersion
    old: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The store's answer to a batch.

    `raised` has, for each event, the alerts that it raised in any version, now or when it came
    before, as raised. `fresh` are those that this call raised. `resolved` are to be written to
    their documents, and the store told by `settled`; until then every verdict holds them again.
    """

    raised: tuple[tuple[Alert, ...], ...]
    fresh: tuple[Alert, ...]
    resolved: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class AlertEntry:
    """One change of status in the stream of alerts; `entry_id` is its place there."""

    entry_id: str
    alert: Alert
