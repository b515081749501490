"""Where a batch ends that cannot be read."""

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

ASK_SECONDS = 2.0
ASK_BYTES = 1024 * 1024
# Offset of the first record, length of what follows, leader's epoch, magic, checksum, attributes,
# offset of the last record less that of the first.
_HEAD = struct.Struct(">qiibIhi")
_BEFORE_LENGTH_COUNTS = 12
_MAGIC = 2


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


def unpacks(fetched: bytes) -> bool:
    """Whether the first batch fetched can be unpacked after all."""
    try:
        batch = MemoryRecords(fetched).next_batch()
        return batch is not None and batch.validate_crc() and bool([*batch])
    except Exception:  # codecs have errors of their own
        return False


async def broken_batch(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int
) -> tuple[bytes, int] | None:
    """The bytes of the batch at an offset, as the broker has them, and the offset behind it.

    None where it is in order by now, where its end cannot be known, and where the broker does not
    give it out.
    """
    try:
        async with asyncio.timeout(ASK_SECONDS):
            fetched, high_watermark = await _at(consumer, partition, offset)
    except (KafkaError, TimeoutError, AssertionError):  # also without a leader
        return None
    found = None if unpacks(fetched) else extent(fetched, offset, high_watermark)
    return (fetched[: found.size], found.end) if found else None


async def _at(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int
) -> tuple[bytes, int]:
    """What stands at an offset, nothing where the broker refuses, and the high watermark."""
    client = consumer._client
    wanted = [(partition.topic, [(partition.partition, offset, ASK_BYTES)])]
    request = FetchRequest(0, 0, ASK_BYTES, READ_COMMITTED, wanted)
    response: Any = await client.send(client.cluster.leader_for_partition(partition), request)
    ((_, ((_, _, high_watermark, *_, data),)),) = response.topics
    return data or b"", high_watermark
