"""Takes records out of what the Kafka client has fetched, and meets what cannot be read.

The client's own `getmany` raises for a batch with a broken checksum, an unknown codec, another
format: what it had taken of other partitions and of good batches before is lost then, and the
next call raises again. Here only the partition itself is concerned. It waits, and is tried again
from time to time; or, once that has failed often enough, the batch is passed over and a record
with its bytes (`UnreadableBatch`) stands in for it. What the broker itself refuses to give out is
waited for, where the client would ask again without a pause.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import (
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from schemas.arrival import LOG_APPEND_TIME
from stream.broken_batches import broken_batch
from stream.unreadable import Unreadable, UnreadableBatch

RETRY_SECONDS = 2.0
# A fault on the way here is gone when the batch is fetched again; one in the log is not.
TRIES_BEFORE_SKIP = 3

# What the client's fetcher does something about; of all else it writes a line and asks again.
_HANDLED = (
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

Records = dict[TopicPartition, list[ConsumerRecord]]


@dataclass(slots=True)
class _Wait:
    """A partition that stands still at an offset."""

    offset: int
    met: Unreadable
    retry_at: float


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a partition was read. `handed` is the offset behind the last record that was given
    out, None where there was none yet; from there to `position` is none either."""

    handed: int | None
    position: int


class Fetching:
    """Reads what a consumer has assigned. `met` is told each time that something cannot be read.

    Works in the consumer's own event loop. No record is given out twice or lost by a batch that
    cannot be unpacked, and those before it are given out.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, *, skips: bool, met: Callable[[Unreadable], None]
    ) -> None:
        self._consumer = consumer
        self._skips = skips
        self._met = met
        self._waiting: dict[TopicPartition, _Wait] = {}
        self.reached: dict[TopicPartition, Reach] = {}

    async def records(
        self, wanted: Collection[TopicPartition], seconds: float, most: int
    ) -> Records:
        """The next records of these partitions, at most so many; none after the seconds.

        Raises what the client cannot get over, as its own `getmany` does.
        """
        fetcher = self._consumer._fetcher
        if not isinstance(fetcher._client, _Overheard):
            fetcher._client = _Overheard(fetcher._client, self._hear)
        deadline = time.monotonic() + seconds
        with fetcher._subscriptions.fetch_context():
            # Nothing is awaited between taking records and giving them out: a rebalance in between
            # would make them the next generation's.
            if stand_ins := await self._tried_again():
                return stand_ins
            while True:
                if fetcher._subscriptions.reassignment_in_progress:
                    await fetcher._subscriptions.wait_for_assignment()
                if taken := self._taken(wanted, most):
                    return taken
                if not await self._has_more(deadline - time.monotonic()):
                    return {}

    async def _has_more(self, seconds: float) -> bool:
        fetcher = self._consumer._fetcher
        waiter = fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=max(0.0, seconds))
        if not done or fetcher._closed:
            waiter.cancel()
            return False
        waiter.result()
        return True

    def _taken(self, wanted: Collection[TopicPartition], most: int) -> Records:
        fetcher = self._consumer._fetcher
        taken: Records = {}
        for partition, fetched in list(fetcher._records.items()):
            if partition not in wanted:
                if not fetcher._subscriptions.is_assigned(partition):
                    del fetcher._records[partition]
                continue
            records, error = _unpacked(fetched, most)
            if records:
                taken[partition] = records
            most -= len(records)
            if error is None and most <= 0:
                break
            del fetcher._records[partition]
            fetcher._notify(fetcher._wait_consume_future)
            if error is not None:
                self._meet(partition, error)
        self._note_reach(taken)
        return taken

    def _note_reach(self, taken: Records) -> None:
        for partition in self._consumer.assignment():
            position = self._position(partition)
            if position is None:
                continue
            before = self.reached.get(partition)
            handed = before.handed if before else None
            if records := taken.get(partition):
                handed = records[-1].offset + 1
            self.reached[partition] = Reach(handed, position)
            waiting = self._waiting.get(partition)
            if waiting and waiting.offset != position:
                del self._waiting[partition]

    def _position(self, partition: TopicPartition) -> int | None:
        """Where the next record is expected; None while that is not known."""
        subscriptions = self._consumer._fetcher._subscriptions
        if not subscriptions.is_assigned(partition):
            return None
        state = subscriptions.subscription.assignment.state_value(partition)
        position: int | None = state.position if state.has_valid_position else None
        return position

    def _hear(self, response: Any) -> None:
        """Meet what the brokers refuse in an answer and the client does not know to handle."""
        for topic, partitions in response.topics:
            for number, code, *_ in partitions:
                if (error := for_code(code)) not in _HANDLED:
                    self._meet(TopicPartition(topic, number), error())

    def _meet(self, partition: TopicPartition, error: Exception) -> None:
        """Leave the partition alone for a while; the others go on."""
        offset = self._position(partition)
        if offset is None:
            return
        before = self._waiting.get(partition)
        tries = before.met.tries + 1 if before and before.offset == offset else 1
        met = Unreadable(partition, offset, error, tries)
        self._consumer.pause(partition)
        retry_at = time.monotonic() + RETRY_SECONDS
        self._waiting[partition] = _Wait(offset, met, retry_at)
        self._met(met)

    async def _tried_again(self) -> Records:
        """Let the partitions go on whose time has come; where a batch is passed over, what stands
        in for it."""
        due = [tp for tp, wait in self._waiting.items() if wait.retry_at <= time.monotonic()]
        passed = {tp: batch for tp in due if (batch := await self._to_pass(self._waiting[tp]))}
        stand_ins: Records = {}
        for partition in due:
            waiting = self._waiting[partition]
            if self._position(partition) != waiting.offset:  # it is another's, or moved
                del self._waiting[partition]
                continue
            waiting.retry_at = time.monotonic() + RETRY_SECONDS
            self._consumer.resume(partition)
            if partition in passed:
                data, end = passed[partition]
                self._consumer.seek(partition, end)
                stand_ins[partition] = [_stand_in(waiting.met, data, end)]
        self._note_reach(stand_ins)
        return stand_ins

    async def _to_pass(self, waiting: _Wait) -> tuple[bytes, int] | None:
        """The bytes of the batch and the offset behind it, where it is to be passed over now."""
        met = waiting.met
        if self._skips and met.is_batch and met.tries >= TRIES_BEFORE_SKIP:
            return await broken_batch(self._consumer, met.partition, waiting.offset)
        return None


class _Overheard:
    """The client's connections as its fetcher uses them; `heard` is told what brokers answer."""

    def __init__(self, connections: Any, heard: Callable[[Any], None]) -> None:
        self._connections = connections
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connections, name)

    async def send(self, node: int, request: Any) -> Any:
        response = await self._connections.send(node, request)
        if isinstance(request, FetchRequest):
            self._heard(response)
        return response


def _unpacked(fetched: Any, most: int) -> tuple[list[ConsumerRecord], Exception | None]:
    """Records of one partition up to the first that cannot be unpacked, and why it cannot."""
    if not isinstance(fetched, FetchResult):
        return [], fetched._error
    records: list[ConsumerRecord] = []
    try:
        while len(records) < most and (record := fetched.getone()) is not None:
            records.append(record)
    except Exception as error:  # codecs have errors of their own
        fetched._update_position()
        return records, error
    return records, None


def _stand_in(met: Unreadable, data: bytes, end: int) -> ConsumerRecord:
    offsets = f"offset {met.offset}" if end == met.offset + 1 else f"offsets {met.offset}–{end - 1}"
    value = UnreadableBatch.of(data, f"a batch of Kafka ({offsets}) cannot be read: {met.why}")
    topic, number = met.partition
    stamp = int(time.time() * 1000)
    return ConsumerRecord(
        topic, number, met.offset, stamp, LOG_APPEND_TIME, None, value, None, -1, len(data), ()
    )
