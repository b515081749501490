"""Gathers records into batches for the model, under a budget of tokens and of records.

A batch closes when it is full, or when the engine is free and its oldest record has waited for
the linger. While the engine works, records gather, so the batches grow with the load and stay
small, and quick, when there is little to do.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What the batcher needs to know of a record."""

    @property
    def tokens(self) -> int:
        """Estimated tokens, capped at the model's window."""


T = TypeVar("T", bound=Sized)


@dataclass(slots=True)
class Batcher(Generic[T]):
    """A first-in-first-out buffer that gives batches. Belongs to one event loop."""

    max_tokens: int
    max_records: int
    linger_seconds: float
    _waiting: deque[tuple[float, T]] = field(default_factory=deque)
    _tokens: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, record: T) -> None:
        """Put a record at the end."""
        self._waiting.append((monotonic(), record))
        self._tokens += record.tokens
        self._arrived.set()

    async def next_batch(self) -> list[T]:
        """Wait for a batch, which is never empty. To be called when the engine is free."""
        while not self._waiting:
            await self._next_arrival(None)
        deadline = self._waiting[0][0] + self.linger_seconds
        while not self._is_full() and (pause := deadline - monotonic()) > 0:
            await self._next_arrival(pause)
        return self._take()

    async def _next_arrival(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _is_full(self) -> bool:
        return len(self._waiting) >= self.max_records or self._tokens >= self.max_tokens

    def _take(self) -> list[T]:
        """As many records as fit the budget, the first in any case."""
        batch: list[T] = []
        budget = self.max_tokens
        while self._waiting and len(batch) < self.max_records:
            tokens = self._waiting[0][1].tokens
            if batch and tokens > budget:
                break
            batch.append(self._waiting.popleft()[1])
            budget -= tokens
            self._tokens -= tokens
        return batch

    def __len__(self) -> int:
        return len(self._waiting)
