"""Reads dead letters and sends them again to the topics they came from.

The topic may hold copies of a dead letter; here each identity, its origin, counts once. Memory is
bounded by some 100 bytes an identity and the letters that are shown, never by their values.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from schemas.dead_letters import MAX_KEPT_VALUE_BYTES, DeadLetter
from schemas.errors import Reason
from stream.brokers import broker_admin, confirmed_producer, max_value_bytes, send
from stream.dead_letter_reader import read_dead_letters
from stream.redis_session import redis_session
from stream.settings import Settings

REMEMBERED, RESENT = "dead-letters:replayed", "dead-letters:resent"
# A letter that was replayed leaves its topic after 30 days; then nobody asks for it any more.
REMEMBER_SECONDS = 31 * 24 * 3600
MAX_RECORD_BYTES = 2 * MAX_KEPT_VALUE_BYTES
BATCH_LETTERS = 200
BATCH_BYTES = 16 << 20

Identity = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters: all conditions hold; an empty one holds for every letter.

    `since` (included) and `until` (not included) are when they failed; `topic` is the full name
    or the one without namespace.
    """

    reasons: Collection[Reason] = ()
    since: datetime | None = None
    until: datetime | None = None
    topic: str | None = None
    identities: Collection[Identity] = ()

    def fits(self, letter: DeadLetter, prefix: str) -> bool:
        """Whether this letter is meant; `prefix` is that of the namespace."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (self.topic is None or letter.topic in (self.topic, prefix + self.topic))
            and (not self.identities or letter.identity in self.identities)
        )


@dataclass(slots=True)
class Listing:
    """The newest letters, newest first, and how many there are in all by reason."""

    letters: list[DeadLetter]
    by_reason: Counter[Reason]
    foreign: int

    @property
    def total(self) -> int:
        return self.by_reason.total()


@dataclass(slots=True)
class Outcome:
    """What a replay did, in identities; `refused` gives the reason for each not sent."""

    sent: list[Identity] = field(default_factory=list)
    remembered: list[Identity] = field(default_factory=list)
    refused: dict[Identity, str] = field(default_factory=dict)


def written(identity: Identity) -> str:
    """TOPIC/PARTITION/OFFSET, as people write an identity; topics hold no slash."""
    return "/".join(map(str, identity))


def parse_identity(text: str) -> Identity:
    """The other way round. Raises ValueError."""
    topic, partition, offset = text.split("/")
    return topic, int(partition), int(offset)


async def list_letters(
    settings: Settings, wanted: Wanted, limit: int, *, keep_values: bool = False
) -> Listing:
    """The newest `limit` of the wanted letters; values are left out unless asked for.

    Raises ServerUnavailable, and BellwetherError when there is no dead-letters topic.
    """
    box = _Newest(limit)
    seen: set[Identity] = set()
    by_reason: Counter[Reason] = Counter()
    foreign = 0
    async for letter in read_dead_letters(settings):
        if letter is None:
            foreign += 1
        elif wanted.fits(letter, settings.prefix):
            box.add(letter if keep_values else replace(letter, value=None))
            if letter.identity not in seen:
                seen.add(letter.identity)
                by_reason[letter.reason] += 1
    return Listing(box.newest_first(), by_reason, foreign)


class _Newest:
    """Keeps the letters that failed last, one an identity."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Identity, DeadLetter] = {}
        self._heap: list[tuple[datetime, Identity]] = []

    def add(self, letter: DeadLetter) -> None:
        known = self._kept.get(letter.identity)
        if known and known.failed_at >= letter.failed_at:
            return
        self._kept[letter.identity] = letter
        heapq.heappush(self._heap, (letter.failed_at, letter.identity))
        while len(self._kept) > self._limit or len(self._heap) > 2 * self._limit + 1:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        failed_at, identity = heapq.heappop(self._heap)
        if self._kept[identity].failed_at == failed_at:
            del self._kept[identity]

    def newest_first(self) -> list[DeadLetter]:
        return sorted(self._kept.values(), key=lambda letter: letter.failed_at, reverse=True)


async def replay_letters(
    settings: Settings, wanted: Wanted, *, again: bool = False, dry_run: bool = False
) -> Outcome:
    """Send the wanted letters to where they came from, key and value as they were.

    Each is sent once, also over several calls (unless `again`): it is remembered in Redis when
    the brokers have confirmed it, and so is where it went. One that fails again there is a dead
    letter of its own, but the first stands for it: only that is sent. A crash in between sends a
    few twice, which the service takes for the redelivery that it is. Raises ServerUnavailable and
    BellwetherError.
    """
    outcome = Outcome()
    async with redis_session(settings) as redis, broker_admin(settings) as admin:
        memory = _Memory(redis, f"{settings.prefix}bellwether:{REMEMBERED}")
        resent = _Memory(redis, f"{settings.prefix}bellwether:{RESENT}")
        async with confirmed_producer(settings, MAX_RECORD_BYTES) as producer:
            replayer = _Replayer(
                producer, memory, resent, admin, outcome, again=again, dry_run=dry_run
            )
            async for batch in _batches(read_dead_letters(settings), wanted, settings.prefix):
                await replayer.replay(batch)
    return outcome


class _Memory:
    """A set of identities in Redis."""

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key

    async def held(self, identities: Sequence[Identity]) -> set[Identity]:
        """Those of the identities, of which there is at least one, that are in the set."""
        answers = await self._redis.smismember(self._key, [written(i) for i in identities])
        return {i for i, is_held in zip(identities, answers, strict=True) if is_held}

    async def add(self, identities: Sequence[Identity]) -> None:
        await self._redis.sadd(self._key, *(written(identity) for identity in identities))
        await self._redis.expire(self._key, REMEMBER_SECONDS)


class _Replayer:
    def __init__(
        self,
        producer: AIOKafkaProducer,
        memory: _Memory,
        resent: _Memory,
        admin: AIOKafkaAdminClient,
        outcome: Outcome,
        *,
        again: bool,
        dry_run: bool,
    ) -> None:
        self._producer = producer
        self._memory = memory
        self._resent = resent
        self._admin = admin
        self._limits: dict[str, int | None] = {}
        self._outcome = outcome
        self._again = again
        self._dry_run = dry_run
        self._done: set[Identity] = set()

    async def replay(self, letters: Sequence[DeadLetter]) -> None:
        """Send the letters of a batch that nobody sent before, then remember them."""
        due = await self._due([letter for letter in letters if await self._is_new(letter)])
        if due and not self._dry_run:
            await self._send(due)
        self._outcome.sent += [letter.identity for letter in due]

    async def _is_new(self, letter: DeadLetter) -> bool:
        """Whether this is no copy of one that was here before, and can be sent at all."""
        if letter.identity in self._done:
            return False
        self._done.add(letter.identity)
        if refusal := await self._refusal(letter):
            self._outcome.refused[letter.identity] = refusal
        return refusal is None

    async def _refusal(self, letter: DeadLetter) -> str | None:
        if letter.truncated_from is not None:
            return f"only a part of its {letter.truncated_from:,} bytes was kept"
        if letter.topic not in self._limits:
            self._limits[letter.topic] = await max_value_bytes(self._admin, letter.topic)
        limit = self._limits[letter.topic]
        if limit is None:
            return "its topic is gone"
        if len(letter.key or b"") + len(letter.value or b"") > limit:
            return "it is larger than its topic takes"
        return None

    async def _due(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        if not letters:
            return []
        identities = [letter.identity for letter in letters]
        known = await self._resent.held(identities)
        if not self._again:
            known |= await self._memory.held(identities)
        self._outcome.remembered += known
        return [letter for letter in letters if letter.identity not in known]

    async def _send(self, letters: Sequence[DeadLetter]) -> None:
        confirmations = [
            await send(self._producer, letter.topic, letter.key, letter.value) for letter in letters
        ]
        arrived = await asyncio.gather(*confirmations)
        await self._resent.add([(at.topic, at.partition, at.offset) for at in arrived])
        await self._memory.add([letter.identity for letter in letters])


async def _batches(
    letters: AsyncIterator[DeadLetter | None], wanted: Wanted, prefix: str
) -> AsyncIterator[list[DeadLetter]]:
    """The wanted letters in batches, bounded by number and by bytes."""
    batch: list[DeadLetter] = []
    size = 0
    async for letter in letters:
        if letter is None or not wanted.fits(letter, prefix):
            continue
        batch.append(letter)
        size += len(letter.value or b"")
        if len(batch) >= BATCH_LETTERS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
