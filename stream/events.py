"""A record on its way through the pipeline, from what the consumer got to what is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.alerts import Alert
from schemas.arrival import Arrival
from schemas.dead_letters import DeadLetter
from schemas.documents import Change
from schemas.errors import Reason, RecordRejected
from schemas.origins import Origin
from schemas.records import Record
from stream.alerts import Judged
from stream.ledger import Ticket
from stream.unreadable import UnreadableBatch


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as the consumer got it; `topic` is the full name."""

    topic: str
    partition: int
    offset: int
    generation: int
    key: bytes | None
    value: bytes | None
    arrival: Arrival
    acknowledge: Callable[[], object]

    @property
    def origin(self) -> Origin:
        """Where it stands, with Kafka's stamp as far as it can be believed."""
        stamp, by_broker = self.arrival.stamp, self.arrival.by_broker
        return Origin(self.topic, self.partition, self.offset, stamp, by_broker)

    @property
    def size(self) -> int:
        """Bytes of the raw value."""
        return len(self.value or b"")

    def content(self) -> bytes | None:
        """The value. Raises RecordRejected where a batch was passed over."""
        if isinstance(self.value, UnreadableBatch):
            raise RecordRejected(Reason.UNDECODABLE, self.value.why)
        return self.value

    def dead_letter(self, reason: Reason, message: str) -> DeadLetter:
        """This record with the reason why it cannot be a document."""
        return DeadLetter(
            value=self.value,
            key=self.key,
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            reason=reason,
            message=message,
            failed_at=datetime.now(UTC),
        )


@dataclass(slots=True)
class Event:
    """A valid record under way; `tokens` is an estimate, capped at the model's window."""

    incoming: Incoming
    ticket: Ticket
    record: Record
    tokens: int


@dataclass(frozen=True, slots=True)
class AnalysedEvent:
    """An event with its document and with what Redis is to judge."""

    event: Event
    change: Change
    judged: Judged


@dataclass(slots=True)
class Batch:
    """Events that go through the sinks together, with the alerts that Redis answered."""

    events: list[AnalysedEvent]
    raised: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)

    @classmethod
    def joined(cls, batches: Sequence["Batch"]) -> "Batch":
        """Several batches as one, in their order."""
        return cls(
            [event for batch in batches for event in batch.events],
            [alert for batch in batches for alert in batch.raised],
            [alert for batch in batches for alert in batch.resolved],
        )
