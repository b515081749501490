"""What cannot be read in a partition: how it is named, and what stands in for a batch."""

from dataclasses import dataclass
from typing import Self

from aiokafka import TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    CorruptRecordException,
    KafkaError,
    UnknownError,
)

# What a broker says that cannot give out a batch. All else that it says is about the topic, the
# reader's rights or itself, and no reason to pass anything over.
_OF_THE_BATCH = (UnknownError, CorruptRecordException)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands at an offset of a partition. `tries` to read it have failed so far."""

    partition: TopicPartition
    offset: int
    error: Exception
    tries: int

    def __str__(self) -> str:
        topic, number = self.partition
        return (
            f"what stands at offset {self.offset} of {topic}, partition {number}, cannot be read "
            f"({self.why})"
        )

    @property
    def is_batch(self) -> bool:
        """Whether it is about this batch alone, so that it could be passed over."""
        error = self.error
        return not isinstance(error, BrokerResponseError) or isinstance(error, _OF_THE_BATCH)

    @property
    def why(self) -> str:
        """The error; its words only where they are the client's own, and hold no record."""
        name = type(self.error).__name__
        said = str(self.error) if isinstance(self.error, KafkaError) else ""
        return f"{name}: {said}" if said else name


class UnreadableBatch(bytes):
    """The bytes of a batch that was passed over, in the place of a record's value."""

    why: str

    @classmethod
    def of(cls, data: bytes, why: str) -> Self:
        batch = cls(data)
        batch.why = why
        return batch
