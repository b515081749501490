"""The sample files as records ready to send, moved in time together."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schemas.decoding import decode
from schemas.errors import RecordRejected
from schemas.records import Kind, Record
from schemas.sources import Source, load_sources
from stream.json_lines import open_lines
from stream.parcels import Packer, Parcel
from stream.replay import Order, make_packer
from stream.settings import Settings

FOLDER = Path(__file__).parents[1] / "samples"
EXPECTED = FOLDER / "expected.json"


@dataclass(frozen=True, slots=True)
class Sample:
    """A line ready to send. `record` is what it holds, None where it is broken; it is due
    `due_seconds` after the start."""

    topic: str
    parcel: Parcel
    record: Record | None
    due_seconds: float


@dataclass(frozen=True, slots=True)
class _File:
    source: Source
    packer: Packer
    lines: list[bytes]


async def load_samples(settings: Settings, play_seconds: float) -> list[Sample]:
    """The lines of both files in the order in which they are due, over `play_seconds`.

    One shift for both files, so that what happened together still does; the last event happens
    when it is sent. Raises ConfigurationError for files or sources that are missing.
    """
    files = [await _read(settings, source) for source in _sources(settings)]
    now = datetime.now(UTC)
    times = [time for file in files for time in _event_times(file, now)]
    first, last = min(times), max(times)
    end = now.replace(microsecond=0) + timedelta(seconds=play_seconds)
    pace = play_seconds / max(1.0, (last - first).total_seconds())
    samples = [sample for file in files for sample in _samples(file, now, end - last, first, pace)]
    return sorted(samples, key=lambda sample: sample.due_seconds)


def _sources(settings: Settings) -> list[Source]:
    streams = {kind.stream for kind in Kind}
    return [source for source in load_sources(settings.sources) if source.topic in streams]


async def _read(settings: Settings, source: Source) -> _File:
    file = str(FOLDER / f"{source.topic}.jsonl")
    packer = make_packer(settings, Order(file, source.topic, fill=False))
    with open_lines(file) as lines:
        return _File(source, packer, [line.data async for line in lines.lines() if line.data])


def _event_times(file: _File, now: datetime) -> list[datetime]:
    times = (file.packer.pack(line, now).event_time for line in file.lines)
    return [time for time in times if time]


def _samples(
    file: _File, now: datetime, shift: timedelta, first: datetime, pace: float
) -> list[Sample]:
    """A line without a time of its own, and one that comes late, follows the line before it."""
    samples = []
    reached = first
    for line in file.lines:
        parcel = file.packer.pack(line, now, shift)
        reached = max(reached, parcel.event_time or reached)
        due_seconds = (reached - first).total_seconds() * pace
        record = _record(parcel, file.source, now)
        samples.append(Sample(file.source.topic, parcel, record, due_seconds))
    return samples


def _record(parcel: Parcel, source: Source, now: datetime) -> Record | None:
    try:
        return decode(parcel.value, source, now).record
    except RecordRejected:
        return None
