"""Faust's consumer as this service wants it.

- It reads what is committed: nothing of transactions that were aborted or are open.
- A batch that cannot be unpacked concerns its own partition only (`fetching.py`).
- Where reading begins is decided with an eye on what became of the topic (`reading.py`).
- Offsets are committed in the order of acknowledgements, which come in order from the ledger, and
  past whatever holds no record: markers of transactions, what was aborted, compacted, expired.
  Faust commits behind the last record only, so that a group would stay behind for ever where a
  partition ends with a marker; and where the first record has the offset 0 and several offsets
  without a record follow, Faust does not commit any more.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from stream.bookmarks import Change
from stream.fetching import Fetching, Reach, Records
from stream.reading import Reading
from stream.unreadable import Unreadable


class CommittedThread(AIOKafkaConsumerThread):
    """The thread that fetches."""

    fetching: Fetching | None = None
    reading: Reading | None = None

    async def on_start(self) -> None:
        await super().on_start()
        transport: Any = self.transport
        self.reading = Reading(self._ensure_consumer(), transport.changed)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        assert self.reading is not None
        places: Mapping[TP, int] = await self.call_thread(self.reading.seek)
        return places

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        self.fetching = Fetching(consumer, skips=transport.skips, met=transport.met)
        return consumer

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Collection[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's name
        max_records: int | None = None,
    ) -> Records:
        if not self.consumer.flow_active:
            return {}
        if consumer._closed or consumer._fetcher._closed:
            raise ConsumerStoppedError
        assert self.fetching is not None
        return await self.fetching.records(active_partitions, timeout or 0.0, max_records or 1)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if self.fetching:
            self.fetching.reached.clear()
        await super().on_partitions_revoked(revoked)

    def highwater(self, tp: TP) -> int:
        """The end of what can be read: behind it are records of transactions that are open."""
        end: int = self._ensure_consumer().last_stable_offset(tp)
        return end


class CommittedConsumer(Consumer):
    """Commits as far as everything is done."""

    _thread: CommittedThread

    async def look(self) -> bool:
        """Look after the topics; whether all of them are there, and are those that are read."""
        reading = self._thread.reading
        if reading is None:
            return False
        await self._thread.call_thread(reading.look)
        return reading.is_whole

    async def verify_all_partitions_active(self) -> None:
        """Faust's own look for partitions that stand still takes each that was assigned anew, or
        waits for a sink, for one."""

    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing is to be known of gaps where acknowledgements come in order."""

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        newest = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return newest + 1

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        offsets: dict[TP, int] = super()._filter_committable_offsets(tps)
        for tp, reach in self._reached().items():
            done = offsets.get(tp, self._committed_offset.get(tp))
            if _all_done(reach, done) and reach.position > (done or 0):
                offsets[tp] = reach.position
        return offsets

    def _reached(self) -> Mapping[TP, Reach]:
        fetching = self._thread.fetching
        # A copy: the other thread goes on writing.
        return {TP(*tp): reach for tp, reach in fetching.reached.copy().items()} if fetching else {}


def _all_done(reach: Reach, done: int | None) -> bool:
    """Whether every record that was given out is acknowledged."""
    return reach.handed is None or (done is not None and done >= reach.handed)


class CommittedTransport(Transport):
    """Where Faust gets its consumer from. `met` and `changed` are called in its thread."""

    Consumer = CommittedConsumer

    def __init__(
        self,
        app: faust.App,
        *,
        skips: bool,
        met: Callable[[Unreadable], None],
        changed: Callable[[Change], None],
    ) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.skips = skips
        self.met = met
        self.changed = changed
