"""Batches that the Kafka client cannot unpack: how they are named, and what stands in for one."""

import struct
from dataclasses import dataclass
from typing import Self

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

# Offset of the first record, length of what follows, leader's epoch, magic, checksum, attributes,
# offset of the last record less that of the first.
_HEAD = struct.Struct(">qiibIhi")
_BEFORE_LENGTH_COUNTS = 12
_MAGIC = 2


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands at an offset of a partition. `tries` to unpack it have failed so far."""

    partition: TopicPartition
    offset: int
    error: Exception
    tries: int

    def __str__(self) -> str:
        topic, number = self.partition
        return (
            f"what stands at offset {self.offset} of {topic}, partition {number}, cannot be "
            f"unpacked ({self.why})"
        )

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


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a batch ends: in what was fetched, and in the partition (the offset behind it)."""

    size: int
    end: int


def extent(fetched: bytes, offset: int, high_watermark: int) -> Extent | None:
    """That of the first batch fetched, which holds the offset; None where its head is no guide.

    Two places tell the end: the batch's own head and the head of the next batch. Of those that
    are possible the nearer one counts, so that no good record is passed over.
    """
    if len(fetched) < _HEAD.size:
        return None
    first, length, _, magic, _, _, last = _HEAD.unpack_from(fetched)
    size = _BEFORE_LENGTH_COUNTS + length
    told = [first + last + 1] if magic == _MAGIC else []
    if _HEAD.size <= size <= len(fetched) - _HEAD.size:
        told.append(_HEAD.unpack_from(fetched, size)[0])
    ends = [end for end in told if offset < end <= high_watermark]
    whole = min(max(size, 0), len(fetched)) or len(fetched)
    return Extent(whole, min(ends)) if ends else None
