"""Bounds what is in flight, by records and by bytes; this is the service's backpressure."""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Room:
    """Who enters waits until there is room; one record larger than all the room enters alone."""

    max_records: int
    max_bytes: int
    records: int = 0
    bytes: int = 0
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def enter(self, size: int) -> None:
        """Take room for one record of `size` bytes, first come, first served by one caller a
        partition; waits while there is none."""
        while self.records and not self._fits(size):
            self._freed.clear()
            await self._freed.wait()
        self.squeeze_in(size)

    def squeeze_in(self, size: int) -> None:
        """Take room at once, also where there is none."""
        self.records += 1
        self.bytes += size

    @property
    def is_full(self) -> bool:
        """Whether even an empty record would have to wait."""
        return not self._fits(0)

    def leave(self, size: int) -> None:
        """Give the room of one record back."""
        self.records -= 1
        self.bytes -= size
        self._freed.set()

    async def empty(self) -> None:
        """Wait until nothing is in flight."""
        while self.records:
            self._freed.clear()
            await self._freed.wait()

    def _fits(self, size: int) -> bool:
        return self.records < self.max_records and self.bytes + size <= self.max_bytes
