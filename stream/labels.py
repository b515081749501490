"""The labels that stand, read from the compacted topic `labels`.

Of several records under one key the one that was given last counts, whatever order they arrived in;
a tombstone erases what came before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import ConsumerRecord

from models.opinions import GivenLabel
from schemas.arrival import Arrival
from schemas.errors import RecordRejected
from schemas.labels import LabelRecord
from stream.settings import Settings
from stream.topic_reader import read_topic

TOPIC = "labels"

# The offset up to which each partition was read.
Positions = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class StandingLabel:
    """A label, where it stands in the topic, and when it came there."""

    record: LabelRecord
    partition: int
    offset: int
    arrived_at: datetime

    def given(self) -> GivenLabel:
        """As the trainer takes it. Its time is the arrival's: anyone can claim another."""
        record = self.record
        return GivenLabel(
            task=record.task,
            event_id=record.event_id,
            entity=record.entity or "",
            annotator=record.annotator,
            label=record.label,
            text=record.text,
            given_at=self.arrived_at,
            selection=record.selection or "correction",
            model_label=record.model.label if record.model else None,
            conversation=record.conversation_id or "",
        )


@dataclass(frozen=True, slots=True)
class Labels:
    """What stood in the topic at one moment.

    repeated: records under the key of a label that was there already; all of one key are one label.
    unreadable: records that are no labels of ours.
    """

    standing: tuple[StandingLabel, ...]
    positions: Positions
    repeated: int
    unreadable: int

    def given(self) -> list[GivenLabel]:
        return [label.given() for label in self.standing]

    def since(self, positions: Positions) -> int:
        """How many of them came behind these positions. A topic that was made anew is all new."""
        return sum(
            label.offset >= positions.get(label.partition, 0) or self._is_anew(positions, label)
            for label in self.standing
        )

    def _is_anew(self, positions: Positions, label: StandingLabel) -> bool:
        return self.positions.get(label.partition, 0) < positions.get(label.partition, 0)


async def read_labels(settings: Settings) -> Labels:
    """Reads the whole topic. Raises ServerUnavailable, and BellwetherError without the topic."""
    standing: dict[bytes, StandingLabel] = {}
    positions: dict[int, int] = {}
    repeated = unreadable = 0
    async for record in read_topic(settings, TOPIC):
        positions[record.partition] = record.offset + 1
        key = record.key or b""
        if record.value is None:
            standing.pop(key, None)
            continue
        try:
            label = _standing(record)
        except RecordRejected:
            unreadable += 1
            continue
        known = standing.get(key)
        repeated += known is not None
        if known is None or known.record.given_at <= label.record.given_at:
            standing[key] = label
    return Labels(tuple(standing.values()), positions, repeated, unreadable)


def _standing(record: ConsumerRecord) -> StandingLabel:
    label = LabelRecord.from_json(record.value)
    now = datetime.now(UTC)
    arrival = Arrival.told(record.timestamp, record.timestamp_type, now)
    arrived_at = arrival.stamp or min(label.given_at, now)
    return StandingLabel(label, record.partition, record.offset, arrived_at)
