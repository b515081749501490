"""Publishes a file of JSON lines to a topic, every record confirmed by the brokers.

A repeated replay is harmless: a line without an id gets one made of its bytes, so that the service
knows it again. Memory is bounded, however large the file: the producer takes the next record only
when there is room in its batches.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from schemas.errors import BellwetherError, ConfigurationError
from schemas.sources import load_sources
from stream.brokers import broker_admin, confirmed_producer, max_value_bytes, send
from stream.json_lines import Line, LineFile, open_lines
from stream.parcels import NO_SHIFT, Packer, Parcel
from stream.settings import Settings
from stream.wording import counted

FLUSH_SECONDS = 10.0
LINES_PER_REPORT = 200
KEPT_NUMBERS = 10


@dataclass(frozen=True, slots=True)
class Order:
    """What to replay and how. `topic` is without namespace; `speed` is how many times faster than
    it happened, None as fast as possible; `fields` maps ours = theirs. A file that
    is not of JSON lines is sent only where that is `forced`."""

    file: str
    topic: str
    speed: float | None = None
    shift_to_now: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    fill: bool = True
    forced: bool = False


@dataclass(slots=True)
class Tally:
    """What became of the lines. `too_long` holds the numbers of the first lines that the topic
    cannot take; `too_old` counts events that are too old to raise an alert; `seconds` is the time
    from the first line to the last confirmation."""

    sent: int = 0
    confirmed: int = 0
    confirmed_bytes: int = 0
    refused: int = 0
    too_long: list[int] = field(default_factory=list)
    too_old: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def refuse(self, number: int) -> None:
        """Count a line that is too long for the topic."""
        self.refused += 1
        if len(self.too_long) < KEPT_NUMBERS:
            self.too_long.append(number)

    def __str__(self) -> str:
        rate = self.confirmed / self.seconds if self.seconds else 0
        return (
            f"{counted(self.confirmed, 'record')} confirmed, "
            f"{counted(self.confirmed_bytes, 'byte')}, "
            f"{self.seconds:.1f} s, {rate:,.0f} records/s"
        )


Report = Callable[[Tally, LineFile], None]


def replay(settings: Settings, order: Order, report: Report) -> Tally:
    """Publish a file; `report` is called now and then while it goes.

    Ctrl-C ends it after what is under way is confirmed, and the tally says `interrupted`. Raises
    ConfigurationError (no such file, an unknown field), ServerUnavailable, and BellwetherError
    (no such topic, damaged gzip data).
    """
    if order.speed is not None and not 0 < order.speed < math.inf:
        raise ConfigurationError("--speed must be a number greater than 0")
    packer = make_packer(settings, order)
    with open_lines(order.file, rewindable=order.shift_to_now, forced=order.forced) as lines:
        return asyncio.run(_replay(settings, order, packer, lines, report))


def make_packer(settings: Settings, order: Order) -> Packer:
    """The packer for the order's topic, by the sources of the settings."""
    sources = {source.topic: source for source in load_sources(settings.sources)}
    return Packer(
        sources.get(order.topic), fields=order.fields, values=order.values, fill=order.fill
    )


async def _replay(
    settings: Settings, order: Order, packer: Packer, lines: LineFile, report: Report
) -> Tally:
    topic = settings.topic(order.topic)
    async with broker_admin(settings) as admin:
        limit = await max_value_bytes(admin, topic)
    if limit is None:
        known = ", ".join(source.topic for source in load_sources(settings.sources))
        raise BellwetherError(
            f"there is no topic {topic}. `bellwether init` creates those of the sources: {known}"
        )
    shift = await shift_to_now(packer, lines) if order.shift_to_now else NO_SHIFT
    async with confirmed_producer(settings, limit) as producer:
        sender = Sender(producer, topic)
        started = time.monotonic()
        try:
            await _send_all(settings, sender, packer, lines, shift, _Pace(order.speed), report)
            await sender.flush()
        except asyncio.CancelledError:
            sender.tally.interrupted = True
            await sender.flush_for(FLUSH_SECONDS)
        sender.tally.seconds = time.monotonic() - started
        sender.check()
    report(sender.tally, lines)
    return sender.tally


async def _send_all(
    settings: Settings,
    sender: "Sender",
    packer: Packer,
    lines: LineFile,
    shift: timedelta,
    pace: "_Pace",
    report: Report,
) -> None:
    async for line in lines.lines():
        if line.data is None:
            sender.tally.refuse(line.number)
            continue
        now = datetime.now(UTC)
        parcel = packer.pack(line.data, now, shift)
        if parcel.event_time:
            age = now - (parcel.event_time + shift)
            sender.tally.too_old += age.total_seconds() > settings.alert_max_age_seconds
        await pace.wait(parcel.event_time)
        await sender.send(line, parcel)
        if sender.tally.sent % LINES_PER_REPORT == 0:
            report(sender.tally, lines)


async def shift_to_now(packer: Packer, lines: LineFile) -> timedelta:
    """How far the last event of the file is from now; leaves the file at its beginning."""
    now = datetime.now(UTC)
    now -= timedelta(microseconds=now.microsecond % 1000)  # moved times stay in milliseconds
    last: datetime | None = None
    async for line in lines.lines():
        event_time = packer.pack(line.data, now).event_time if line.data else None
        if event_time and (last is None or event_time > last):
            last = event_time
    lines.rewind()
    return now - last if last else NO_SHIFT


class _Pace:
    """Holds records back to the rhythm in which they happened, `speed` times as fast."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._first: tuple[datetime, float] | None = None

    async def wait(self, event_time: datetime | None) -> None:
        """Return when it is the event's turn: at once for one that is late or has no time."""
        if self._speed is None or event_time is None:
            return
        if self._first is None:
            self._first = event_time, time.monotonic()
        first_event, started = self._first
        due = started + (event_time - first_event).total_seconds() / self._speed
        await asyncio.sleep(max(0.0, due - time.monotonic()))


class Sender:
    """Sends parcels and counts the brokers' confirmations."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._failure: BaseException | None = None
        self.tally = Tally()

    async def send(self, line: Line, parcel: Parcel) -> None:
        """Hand a parcel over; waits while the producer's batches are full."""
        self.check()
        try:
            confirmation = await send(self._producer, self._topic, parcel.key, parcel.value)
        except MessageSizeTooLargeError:
            self.tally.refuse(line.number)
            return
        except KafkaError as error:
            self._failure = error
            return
        self.tally.sent += 1
        size = len(parcel.key or b"") + len(parcel.value or b"")
        confirmation.add_done_callback(partial(self._confirm, size))

    def _confirm(self, size: int, confirmation: asyncio.Future[RecordMetadata]) -> None:
        failure = None if confirmation.cancelled() else confirmation.exception()
        if failure is not None:
            self._failure = self._failure or failure
        elif not confirmation.cancelled():
            self.tally.confirmed += 1
            self.tally.confirmed_bytes += size

    async def flush(self) -> None:
        """Wait until everything sent is confirmed."""
        await self._producer.flush()

    async def flush_for(self, seconds: float) -> None:
        """The same, but for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self.flush()
        except TimeoutError:
            return

    def check(self) -> None:
        """Raise what the brokers said to a record, if they refused one."""
        if self._failure is not None:
            raise BellwetherError(
                f"Kafka did not take a record ({self._failure or type(self._failure).__name__}); "
                f"{self.tally.confirmed:,} of {self.tally.sent:,} were confirmed. "
                "Records with an id may be replayed again without harm."
            ) from self._failure
