"""Where in Kafka a record stands, and which of two versions of a record is the newer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from schemas.times import format_milliseconds, parse_rfc3339

# A broker stamps what it appends, so that along a partition stamps grow but for the steps of its
# clock: so much later at a lower offset, a record is of a topic that was deleted and made anew.
MADE_ANEW_AFTER = timedelta(hours=1)

_UNKNOWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in Kafka a record stands. `topic` is the full name, with namespace; `received_at` is
    Kafka's stamp, `appended` says that it is the broker's own and not the producer's."""

    topic: str
    partition: int
    offset: int
    received_at: datetime | None = None
    appended: bool = False

    def follows(self, other: "Origin") -> bool:
        """Whether a record from here is newer than one from there, under the same id.

        In a partition the offset says so. Across partitions it is Kafka's stamp, then, so that all
        workers agree, whatever differs.
        """
        mine, theirs = self.received_at or _UNKNOWN, other.received_at or _UNKNOWN
        if (self.topic, self.partition) == (other.topic, other.partition):
            anew = self.appended and mine > theirs + MADE_ANEW_AFTER
            return self.offset > other.offset or anew
        return (mine, self.offset, self.topic, self.partition) > (
            theirs,
            other.offset,
            other.topic,
            other.partition,
        )

    def fields(self) -> dict[str, Any]:
        """As a document has it."""
        place = {"topic": self.topic, "partition": self.partition, "offset": self.offset}
        if self.received_at is None:
            return {"origin": place}
        return {"origin": place, "received_at": format_milliseconds(self.received_at)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self | None:
        """That of a document; None where it has none that could be read."""
        stamp = document.get("received_at")
        try:
            place = document["origin"]
            received_at = parse_rfc3339(stamp) if stamp else None
            return cls(
                str(place["topic"]), int(place["partition"]), int(place["offset"]), received_at
            )
        except (KeyError, TypeError, ValueError):
            return None
