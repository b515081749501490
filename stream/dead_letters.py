"""Writes dead letters, each confirmed by the brokers before its record counts as done."""

from collections.abc import Callable, Sequence

from schemas.dead_letters import DeadLetter
from stream.settings import Settings
from stream.topic_writer import Outgoing, TopicWriter

# What the topic takes, with key, headers and framing.
MAX_REQUEST_BYTES = 5 * 1024 * 1024


class DeadLetterWriter:
    """Sends to the `dead-letters` topic. A copy is harmless: the identity is the origin."""

    def __init__(self, settings: Settings, on_retry: Callable[[], None]) -> None:
        self._writer = TopicWriter(settings, "dead-letters", MAX_REQUEST_BYTES, on_retry)

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return when the brokers hold every letter; wait for as long as they are away."""
        fitted = map(DeadLetter.fitted, letters)
        await self._writer.write(
            [Outgoing(letter.key, letter.value, letter.headers()) for letter in fitted]
        )

    async def close(self) -> None:
        """Let go of the connection; a later write opens another."""
        await self._writer.close()
