"""Reads files of lines, of any size: plain, gzip (`.gz`), or standard input (`-`).

Memory is bounded by the longest line that is kept, not by the file.
"""

import asyncio
import gzip
import os
import shutil
import stat
import sys
import tempfile
import zlib
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import IO

from schemas.errors import BellwetherError, ConfigurationError
from schemas.file_formats import not_json_lines

CHUNK_BYTES = 1 << 18
# The largest value a topic takes is 4 MiB; in base64 and quoted it is somewhat more.
MAX_LINE_BYTES = 8 << 20
STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end; `data` is None where it is longer than MAX_LINE_BYTES."""

    number: int
    data: bytes | None


class LineFile:
    """An open file of lines. `size` and `position` are bytes on disk; a pipe has no size.

    Unless it is `forced`, a file that is something else by its beginning is refused.
    """

    def __init__(self, raw: IO[bytes], *, compressed: bool, size: int | None, forced: bool) -> None:
        self._raw = raw
        self._forced = forced
        self._file = gzip.GzipFile(fileobj=raw) if compressed else raw
        self.size = size
        self._waits = size is None
        self._read_bytes = 0

    @property
    def position(self) -> int:
        """How far the file has been read."""
        return self._read_bytes if self._waits else self._raw.tell()

    def rewind(self) -> None:
        """Go back to the first line; impossible on a pipe."""
        self._file.seek(0)

    async def lines(self) -> AsyncIterator[Line]:
        """Each line that is not blank.

        Raises ConfigurationError, before the first, where the file is no file of lines, and
        BellwetherError where gzip data is damaged.
        """
        number, rest, skipping = 0, b"", False
        async for chunk in self._chunks():
            if not number and not rest and not skipping:
                chunk = chunk.removeprefix(BOM_UTF8)
            self._check(chunk)
            *ended, rest = (rest + chunk).split(b"\n")
            for data in ended:
                number += 1
                if skipping or len(data) > MAX_LINE_BYTES:
                    skipping = False
                    yield Line(number, None)
                elif data.strip():
                    yield Line(number, data.rstrip(b"\r"))
            if skipping or len(rest) > MAX_LINE_BYTES:
                skipping, rest = True, b""
        if skipping:
            yield Line(number + 1, None)
        elif rest.strip():
            yield Line(number + 1, rest.rstrip(b"\r"))

    def _check(self, chunk: bytes) -> None:
        """By the first chunk alone."""
        problem = None if self._forced else not_json_lines(chunk)
        if problem:
            raise ConfigurationError(problem)
        self._forced = True

    async def _chunks(self) -> AsyncIterator[bytes]:
        read = in_thread if self._waits else _at_once
        try:
            while chunk := await read(lambda: self._file.read(CHUNK_BYTES)):
                self._read_bytes += len(chunk)
                yield chunk
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BellwetherError(f"the gzip data is damaged or cut: {error}") from None


@contextmanager
def open_lines(file: str, *, rewindable: bool = False, forced: bool = False) -> Iterator[LineFile]:
    """Open a path or `-`. Raises ConfigurationError when there is no such file to read.

    With `rewindable` what comes through a pipe is first copied to a temporary file on disk.
    """
    with _open(file) as raw:
        status = os.fstat(raw.fileno())
        if stat.S_ISREG(status.st_mode):
            yield LineFile(raw, compressed=file.endswith(".gz"), size=status.st_size, forced=forced)
        elif rewindable:
            with tempfile.TemporaryFile() as spool:
                shutil.copyfileobj(raw, spool)
                size = spool.tell()
                spool.seek(0)
                yield LineFile(spool, compressed=False, size=size, forced=forced)
        else:
            yield LineFile(raw, compressed=False, size=None, forced=forced)


def _open(file: str) -> IO[bytes]:
    """Unbuffered: a read gives what is there, and an abandoned one holds no lock at exit."""
    if file == STANDARD_INPUT and sys.stdin is None:
        raise ConfigurationError("there is no standard input")
    if file == STANDARD_INPUT:
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return open(file, "rb", buffering=0)
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None


async def _at_once(read: Callable[[], bytes]) -> bytes:
    await asyncio.sleep(0)  # disks answer soon, but others want their turn between chunks
    return read()


async def in_thread(read: Callable[[], bytes]) -> bytes:
    """Read where nobody knows when there will be something, without stopping the loop.

    The thread is a daemon: a read that never ends must not keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[bytes] = loop.create_future()

    def deliver(data: bytes, error: OSError | None = None) -> None:
        if arrived.done():
            return
        if error:
            arrived.set_exception(error)
        else:
            arrived.set_result(data)

    def work() -> None:
        try:
            answer: tuple[bytes, OSError | None] = (read(), None)
        except OSError as error:
            answer = (b"", error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, *answer)

    Thread(target=work, daemon=True).start()
    return await arrived
