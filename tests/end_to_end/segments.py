"""Damage in a broker's log: bytes of a batch changed in the file of a partition.

The broker does not look at them when it hands them out, but for a batch's length, by which it does
not start. Only while it is stopped.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from aiokafka.record.util import calc_crc32c

LENGTH_AT, EPOCH_AT, MAGIC_AT, CRC_AT, ATTRIBUTES_AT, LAST_AT, RECORDS_AT = (
    8,
    12,
    16,
    17,
    21,
    23,
    61,
)

Damage = Callable[[bytearray], None]  # of the bytes of one batch, in place


def segment(data: Path, topic: str, partition: int) -> Path:
    """The only file of a partition's records in the broker's data folder."""
    (file,) = (data / f"{topic}-{partition}").glob("*.log")
    return file


def damage(file: Path, batch: int, change: Damage) -> bytes:
    """Change the batch of this number; the file's bytes as they were."""
    whole = file.read_bytes()
    start, end = list(_batches(whole))[batch]
    changed = bytearray(whole[start:end])
    change(changed)
    file.write_bytes(whole[:start] + changed + whole[end:])
    return whole


def _batches(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start + RECORDS_AT <= len(data):
        (length,) = struct.unpack_from(">i", data, start + LENGTH_AT)
        if length <= 0:
            return
        yield start, start + EPOCH_AT + length
        start += EPOCH_AT + length


def resealed(change: Damage) -> Damage:
    """With a checksum that fits: as a producer sent it."""

    def changed(batch: bytearray) -> None:
        change(batch)
        struct.pack_into(">I", batch, CRC_AT, calc_crc32c(bytes(batch[ATTRIBUTES_AT:])))

    return changed


def flipped(batch: bytearray) -> None:
    """A bit of a record has turned."""
    batch[RECORDS_AT + 20] ^= 1


def magic(number: int) -> Damage:
    """The format is another."""

    def changed(batch: bytearray) -> None:
        batch[MAGIC_AT] = number
        batch[RECORDS_AT] ^= 0x40  # or the client would read it as the one that it knows

    return changed


def codec(number: int) -> Damage:
    """It says that it is compressed so, which it is not."""

    def changed(batch: bytearray) -> None:
        batch[ATTRIBUTES_AT + 1] |= number

    return resealed(changed)


def last_offset(batch: bytearray) -> None:
    """The number of its last record has a bit too many."""
    batch[LAST_AT + 1] ^= 0x10


def header_name(batch: bytearray) -> None:
    """The name of a header is no UTF-8; it was `name`."""
    at = bytes(batch).index(b"name")
    batch[at : at + 4] = b"n\xff\xfee"
