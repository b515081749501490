"""When a record reached Kafka, as far as its stamp can be believed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from schemas.decoding import MAX_AHEAD, MIN_EVENT_TIME

LOG_APPEND_TIME = 1  # Kafka's number for it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Arrival:
    """`stamp` is Kafka's time of a record in UTC; None where it cannot be true.

    by_broker: the broker's clock made the stamp (LogAppendTime). A sender's may be wrong in ways
        that look right.
    read_at: the clock when the record was read.
    """

    stamp: datetime | None
    by_broker: bool
    read_at: datetime

    @classmethod
    def told(cls, milliseconds: float | None, stamp_type: int | None, read_at: datetime) -> Self:
        """By a stamp in milliseconds since 1970. One before 2000 (none at all, a clock that was
        never set, seconds) or over a day ahead (microseconds) is no stamp."""
        stamp = _believable(milliseconds, read_at + MAX_AHEAD)
        return cls(stamp, stamp_type == LOG_APPEND_TIME, read_at)

    @property
    def latest(self) -> datetime:
        """The time by which it had arrived, for certain."""
        return self.stamp if self.stamp and self.by_broker else self.read_at

    def age(self, event_time: datetime) -> timedelta:
        """How old an event was when it arrived; how old it is now, where nothing tells that.

        A sender's stamp from over a day before the event is none either.
        """
        stamp = self.stamp
        if stamp and not self.by_broker and event_time - stamp > MAX_AHEAD:
            stamp = None
        return (stamp or self.read_at) - event_time


def _believable(milliseconds: float | None, latest: datetime) -> datetime | None:
    if milliseconds is None:
        return None
    try:
        stamp = _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        return None
    return stamp if MIN_EVENT_TIME <= stamp <= latest else None
