"""Puts labels on the feedback topic, each confirmed by the brokers: one by one, or of a file."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import NAMESPACE_OID, uuid5

import orjson

from schemas.decoding import MAX_VALUE_BYTES, decode_feedback
from schemas.errors import RecordRejected
from schemas.records import FeedbackRecord
from schemas.taxonomy import Taxonomy
from schemas.times import format_rfc3339
from stream.brokers import confirmed_producer, partitions_of
from stream.feedback_checks import check
from stream.json_lines import open_lines
from stream.parcels import Parcel
from stream.replay import LINES_PER_REPORT, Report, Sender, Tally
from stream.settings import Settings

FEEDBACK = "feedback"
KEPT_REFUSALS = 10
# A line is as long as a record may be at most, and grows by what it lacks; the topic takes 4 MiB.
MOST_BYTES = 2 * MAX_VALUE_BYTES

Send = Callable[[FeedbackRecord], Awaitable[None]]


@dataclass(slots=True)
class FileOutcome:
    """What became of a file's lines; `reasons` are of the first that were refused."""

    tally: Tally = field(default_factory=Tally)
    refused: int = 0
    reasons: list[str] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        self.refused += 1
        if len(self.reasons) < KEPT_REFUSALS:
            self.reasons.append(f"line {line}: {reason}")


@asynccontextmanager
async def label_sender(settings: Settings) -> AsyncIterator[Send]:
    """A function that returns when the brokers have a label. Raises ServerUnavailable, and
    BellwetherError where there is no such topic."""
    topic = settings.topic(FEEDBACK)
    await partitions_of(settings, topic)
    async with confirmed_producer(settings, MOST_BYTES) as producer:

        async def send(record: FeedbackRecord) -> None:
            parcel = parcel_of(record)
            await producer.send_and_wait(topic, key=parcel.key, value=parcel.value)

        yield send


async def send_file(
    settings: Settings,
    file: str,
    taxonomy: Taxonomy,
    defaults: Mapping[str, str],
    report: Report,
    *,
    forced: bool = False,
) -> FileOutcome:
    """Send the labels of a file of JSON lines; `report` is called now and then while it goes.

    A line that is no label of the taxonomy is refused, and the others are sent. `defaults` are the
    fields that a line lacks. A label's id is made of its line, so that a repetition is known.
    Raises ConfigurationError where there is no such file, or one that is not of lines and is not
    `forced`, ServerUnavailable and BellwetherError.
    """
    topic, outcome = settings.topic(FEEDBACK), FileOutcome()
    with open_lines(file, forced=forced) as lines:
        await partitions_of(settings, topic)
        async with confirmed_producer(settings, MOST_BYTES) as producer:
            sender = Sender(producer, topic)
            outcome.tally = sender.tally
            async for line in lines.lines():
                if line.data is None:
                    outcome.refuse(line.number, "longer than any label")
                    continue
                try:
                    record = read_label(line.data, taxonomy, defaults)
                except RecordRejected as error:
                    outcome.refuse(line.number, str(error))
                    continue
                await sender.send(line, parcel_of(record))
                if sender.tally.sent % LINES_PER_REPORT == 0:
                    report(sender.tally, lines)
            await sender.flush()
            sender.check()
        report(sender.tally, lines)
    return outcome


def read_label(line: bytes, taxonomy: Taxonomy, defaults: Mapping[str, str]) -> FeedbackRecord:
    """The label in a line. Raises RecordRejected."""
    now = datetime.now(UTC)
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None  # it is refused below, with the place of the error
    if isinstance(fields, dict):
        identity = uuid5(NAMESPACE_OID, f"{line!r} {sorted(defaults.items())}")
        own = {"id": str(identity), "given_at": format_rfc3339(now)}
        line = orjson.dumps({**own, **defaults, **fields})
    record = decode_feedback(line, now)
    check(record, taxonomy)
    return record


def parcel_of(record: FeedbackRecord) -> Parcel:
    """As the topic has it: keyed by the event, with a null label where one is taken back."""
    value = record.model_dump_json(exclude_unset=True).encode()
    return Parcel(record.event_id.encode(), value, record.given_at)
