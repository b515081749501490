"""What has been seen so far; plain values, filled by the observers and read by the screen."""

import math
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from schemas.alerts import Alert
from schemas.dead_letters import DeadLetter

Event = tuple[str, str]  # stream and id
Identity = tuple[str, int, int]

RATE_SECONDS = 2.0


@dataclass(slots=True)
class Counts:
    """Documents of one stream, as Elasticsearch counts them: in all, and by field and label."""

    total: int = 0
    labels: dict[str, Counter[str]] = field(default_factory=dict)

    def of(self, name: str) -> Counter[str]:
        """Label to number of documents, for a field such as sentiment."""
        return self.labels.get(name, Counter())


@dataclass(slots=True)
class Figures:
    """Instants are seconds since 1970 by this machine's clock.

    `due_at` is when an event was to be sent for the first time: latency is counted from there, so
    that a sender that lags behind hides nothing. `ends` is the offset behind the last confirmed
    record of each partition, `committed` how far the worker's group is.
    """

    confirmed: int = 0
    due_at: dict[Event, float] = field(default_factory=dict)
    stored_at: dict[Event, float] = field(default_factory=dict)
    alert_seconds: list[float] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    raised: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    letters: dict[Identity, DeadLetter] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    history: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def document_seconds(self) -> list[float]:
        """From send to document, for each event whose document was seen."""
        return [stored - self.due_at[event] for event, stored in self.stored_at.items()]

    @property
    def waiting(self) -> Collection[Event]:
        """Events that were sent and have no document that was seen."""
        return self.due_at.keys() - self.stored_at.keys()

    @property
    def documents(self) -> int:
        """In Elasticsearch, of both streams."""
        return sum(counts.total for counts in self.counts.values())

    @property
    def finished(self) -> int:
        """Records that the worker's group has committed: both sinks, or the dead letters, have
        them."""
        return sum(self.committed.values())

    @property
    def behind(self) -> int:
        """Confirmed records that the group has not committed."""
        return sum(max(0, end - self.committed.get(at, 0)) for at, end in self.ends.items())

    def note_progress(self, now: float) -> None:
        """Keep the last two seconds of progress, for the rate."""
        self.history.append((now, self.finished))
        while len(self.history) > 2 and self.history[1][0] < now - RATE_SECONDS:
            self.history.popleft()

    @property
    def rate(self) -> float:
        """Records committed a second, of late."""
        if len(self.history) < 2:
            return 0.0
        (since, before), (until, after) = self.history[0], self.history[-1]
        return (after - before) / (until - since)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of the values do not exceed (nearest rank)."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
