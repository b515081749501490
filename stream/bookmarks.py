"""Committed offsets, and what may have become of a partition behind the group's back.

An offset tells nothing of the topic that it was committed for, and a topic may be deleted and made
anew under its name. So the topic's id stands beside each offset that we commit, as its metadata.
"""

from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata


def is_of(bookmark: OffsetAndMetadata, topic_id: str) -> bool:
    """Whether an offset was committed for this topic, and not for an older one of its name.

    Without an id, of either, it counts: other programs set offsets too.
    """
    return not bookmark.metadata or not topic_id or bookmark.metadata == topic_id


@dataclass(frozen=True, slots=True)
class Expired:
    """Offsets that were gone before they were read: from `first`, up to but without `end`."""

    partition: TopicPartition
    first: int
    end: int

    @property
    def count(self) -> int:
        """At most so many records; markers of transactions have offsets too."""
        return self.end - self.first

    def __str__(self) -> str:
        topic, number = self.partition
        records = "1 record" if self.count == 1 else f"{self.count} records"
        return (
            f"{topic}, partition {number}: {records} (offsets {self.first} to {self.end - 1}) "
            "expired before they were read, and are lost"
        )


@dataclass(frozen=True, slots=True)
class MadeAnew:
    """A topic that stands for another one than before."""

    topic: str

    def __str__(self) -> str:
        return f"topic {self.topic} was made anew: it is read from its beginning"


@dataclass(frozen=True, slots=True)
class CutShort:
    """A partition that lost its newest records, as when a broker dies that alone had them."""

    partition: TopicPartition

    def __str__(self) -> str:
        topic, number = self.partition
        return (
            f"{topic}, partition {number} ends before the offset that was read already: "
            "it is read from its beginning"
        )


Change = Expired | MadeAnew | CutShort
