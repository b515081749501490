"""Which records are done, and up to where an offset may be committed.

Faust commits past a record that was never acknowledged when a later one was, so acknowledgements
must come strictly in the order of the offsets. Records are finished in any order; the ledger
holds the acknowledgement of each back until all before it in its lane are finished.

A lane is a partition as assigned in one generation of the consumer group. After a rebalance the
old lanes are forgotten: their records may still be written to the sinks, which are idempotent,
but they are never acknowledged, since the partition may be another worker's by then.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lane:
    """A partition in one generation of the consumer group."""

    topic: str
    partition: int
    generation: int


@dataclass(slots=True, eq=False)
class Ticket:
    """A record's place in its lane."""

    lane: Lane
    acknowledge: Callable[[], object]
    done: bool = False


@dataclass(slots=True)
class Ledger:
    """Acknowledges in order. Not safe across threads: it belongs to the event loop."""

    _lanes: dict[Lane, deque[Ticket]] = field(default_factory=dict)

    def open(self, lane: Lane, acknowledge: Callable[[], object]) -> Ticket:
        """Enter a record; within a lane records must be entered in the order of offsets."""
        ticket = Ticket(lane, acknowledge)
        self._lanes.setdefault(lane, deque()).append(ticket)
        return ticket

    def finish(self, ticket: Ticket) -> None:
        """Say that the sinks hold the record; acknowledge whatever this frees."""
        ticket.done = True
        waiting = self._lanes.get(ticket.lane)
        while waiting and waiting[0].done:
            waiting.popleft().acknowledge()

    def forget(self) -> None:
        """Drop every lane: the partitions were revoked."""
        self._lanes.clear()

    def __contains__(self, ticket: Ticket) -> bool:
        """Whether the ticket's lane is still ours: it was not forgotten."""
        return ticket.lane in self._lanes

    def __len__(self) -> int:
        """Records that are not acknowledged yet."""
        return sum(len(waiting) for waiting in self._lanes.values())
