"""Where a consumer reads on, and what happens to its topics meanwhile.

The client by itself resets an offset that the broker refuses without a word, keeps offsets of a
topic that was made anew, learns of added partitions after five minutes, and repeats a commit to a
topic that was deleted for ever. Here

- where reading begins is decided in one place, whenever partitions are assigned (`seek`);
- somebody looks every few seconds what the names of the topics stand for (`look`); what is not as
  it was makes this member join its group again, so that partitions are assigned anew;
- offsets are committed with the id of their topic, and only to topics that are there;
- which offsets a broker refuses, and where reading goes on then, is heard (`_tell_resets`).

Works in the event loop of the consumer's thread.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from stream.bookmarks import Change, CutShort, Expired, MadeAnew, is_of
from stream.topic_ids import SeenTopic, look

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
COMMIT_SECONDS = 3.0

Offsets = Mapping[TopicPartition, OffsetAndMetadata]


class Reading:
    """What a consumer, which has started, reads of its group's topics. `met` is told of changes.

    `is_whole` says whether every topic is there, and is the one that is read.
    """

    def __init__(self, consumer: AIOKafkaConsumer, met: Callable[[Change], None]) -> None:
        self.is_whole = False
        self._consumer = consumer
        self._met = met
        self._seen: Mapping[str, SeenTopic] = {}
        self._away: set[str] = set()
        self._known: dict[str, str] = {}  # topic → the id it had when it was last seen
        self._told: dict[str, str] = {}  # topic → the id with which it was made anew
        self._begun: dict[str, str] = {}  # topic → the id it had when its partitions were assigned
        self._rejoins = False
        # The offset that a broker refused, until there is another; None where we went back.
        self._left: dict[TopicPartition, int | None] = {}
        self._refused: dict[TopicPartition, int] = {}  # the offset, where the partition ends before
        self._expired: dict[TopicPartition, int] = {}  # up to where nothing more is to be told
        self._commit, consumer.commit = consumer.commit, self.commit
        _tell_resets(consumer._fetcher, self._left.setdefault, self._arrive)

    async def seek(self) -> Mapping[TopicPartition, int | None]:
        """Go to where each assigned partition is read on; None: from its beginning."""
        partitions = self._consumer.assignment()
        bookmarks = await self._consumer._coordinator.fetch_committed_offsets([*partitions])
        await self.look()
        self._begun = {part.topic: self._id(part.topic) for part in partitions}
        self._rejoins = False
        self._judge()
        bookmarks = {part: bookmarks[part] for part in self._assigned(bookmarks)}
        others = {part for part in bookmarks if not is_of(bookmarks[part], self._id(part.topic))}
        cut_short = self._refused.keys() & bookmarks.keys() - others
        kept = {part: bookmarks[part].offset for part in bookmarks.keys() - others - cut_short}
        self._left.clear()
        self._left.update(dict.fromkeys(others | cut_short))
        fetcher = self._consumer._fetcher
        fetcher.request_offset_reset([*others, *cut_short], OffsetResetStrategy.EARLIEST)
        for part, offset in kept.items():
            fetcher.seek_to(part, offset)
        await self._begin_anew(others, cut_short)
        return {part: kept.get(part) for part in partitions}

    async def look(self) -> None:
        """See what the topics' names stand for; join the group again if that has changed."""
        client, names = self._consumer._client, self._consumer.subscription()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._seen = await look(client, names)
        except (KafkaError, TimeoutError):
            return  # whoever fetches says that a broker is away
        self._tell_away({*names} - self._seen.keys())
        for name in names:
            seen = self._seen.get(name)
            known = len(client.cluster.partitions_for_topic(name) or ())
            if known != (seen.partitions if seen else 0):
                client.force_metadata_update()  # the group's leader then shares them out anew
            if seen and self._known.setdefault(name, seen.id) != seen.id:
                self._tell_anew(name)
        self._judge()
        if self._made_anew():
            self._rejoin()

    async def commit(self, offsets: Offsets) -> None:
        """In the place of the client's own; raises as it does. Nothing is committed to topics that
        are away or partitions that are another's by now."""
        while here := {
            part: OffsetAndMetadata(offsets[part].offset, self._begun.get(part.topic, ""))
            for part in self._assigned(offsets)
            if part.topic not in self._away
        }:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_SECONDS):
                    await self._commit(here)
                    return
            await self.look()

    async def _begin_anew(
        self, others: Collection[TopicPartition], cut_short: Collection[TopicPartition]
    ) -> None:
        """Tell why, and commit it, so that nobody tells it again."""
        for topic in {part.topic for part in others}:
            if self._told.get(topic) != self._id(topic):
                self._tell_anew(topic)
        for part in cut_short:
            self._expired[part] = self._refused[part]  # what stood before it was read
            self._met(CutShort(part))
        self._refused.clear()
        with suppress(KafkaError):  # they are told once more then
            await self.commit(dict.fromkeys([*others, *cut_short], OffsetAndMetadata(0, "")))

    def _tell_away(self, away: set[str]) -> None:
        for name in sorted(away - self._away):
            logger.error("topic %s is not there: nothing is read from it", name)
        for name in sorted(self._away - away):
            logger.warning("topic %s is there again", name)
        self._away = away

    def _tell_anew(self, topic: str) -> None:
        self._known[topic] = self._told[topic] = self._id(topic)
        for part in [part for part in self._expired if part.topic == topic]:
            del self._expired[part]
        self._met(MadeAnew(topic))

    def _id(self, topic: str) -> str:
        seen = self._seen.get(topic)
        return seen.id if seen else ""

    def _assigned(self, partitions: Collection[TopicPartition]) -> set[TopicPartition]:
        ours = self._consumer.assignment()
        return {part for part in partitions if part in ours}

    def _judge(self) -> None:
        led = bool(self._seen) and all(topic.is_led for topic in self._seen.values())
        self.is_whole = led and not self._away and not self._rejoins and not self._made_anew()

    def _made_anew(self) -> bool:
        topics = {part.topic for part in self._consumer.assignment()}
        return any(
            self._begun[name] != self._id(name)
            for name in topics & self._begun.keys() & self._seen.keys()
        )

    def _rejoin(self) -> None:
        """Once, until partitions are assigned."""
        if not self._rejoins:
            self._rejoins = True
            self._consumer._coordinator.request_rejoin()

    def _arrive(self, partition: TopicPartition, offset: int) -> None:
        left = self._left.pop(partition, None)
        if left is None:
            return
        if offset < left:
            self._refused[partition] = left
            self._rejoin()
            return
        first = max(left, self._expired.get(partition, 0))
        self._expired[partition] = offset
        if first < offset:
            self._met(Expired(partition, first, offset))


def _tell_resets(
    fetcher: Any,
    leave: Callable[[TopicPartition, int], object],
    arrive: Callable[[TopicPartition, int], None],
) -> None:
    """Tell which offset a broker refused, and with which the fetcher goes on."""
    fetch, place = fetcher._proc_fetch_request, fetcher._update_fetch_positions

    async def fetched(assignment: Any, node: int, request: Any) -> Any:
        woke = await fetch(assignment, node, request)
        for topic, partitions in request.topics:
            for number, offset, _ in partitions:
                partition = TopicPartition(topic, number)
                if assignment.active and assignment.state_value(partition).awaiting_reset:
                    leave(partition, offset)
        return woke

    async def placed(assignment: Any, node: int, partitions: Collection[TopicPartition]) -> Any:
        woke = await place(assignment, node, partitions)
        for partition in partitions:
            state = assignment.state_value(partition)
            if assignment.active and state.has_valid_position:
                arrive(partition, state.position)
        return woke

    fetcher._proc_fetch_request, fetcher._update_fetch_positions = fetched, placed
