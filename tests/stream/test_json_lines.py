import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import BellwetherError, ConfigurationError
from stream import json_lines
from stream.json_lines import CHUNK_BYTES, MAX_LINE_BYTES, Line, LineFile, open_lines


async def read(file: LineFile) -> list[Line]:
    return [line async for line in file.lines()]


def in_memory(content: bytes) -> LineFile:
    return LineFile(io.BytesIO(content), compressed=False, size=len(content), forced=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a\nb\n", [Line(1, b"a"), Line(2, b"b")]),
        (b"a\n\n  \nb", [Line(1, b"a"), Line(4, b"b")]),
        (b"a\r\nb\r\n", [Line(1, b"a"), Line(2, b"b")]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [Line(1, b"a"), Line(2, b"\xef\xbb\xbfb")]),
        (b"\xff\x00\n", [Line(1, b"\xff\x00")]),
    ],
)
async def test_lines_are_numbered_and_blank_ones_skipped(
    content: bytes, expected: list[Line]
) -> None:
    assert await read(in_memory(content)) == expected


async def test_lines_over_several_chunks() -> None:
    lines = [b"x" * (CHUNK_BYTES // 3), b"y" * (2 * CHUNK_BYTES), b"z"]
    assert [line.data for line in await read(in_memory(b"\n".join(lines)))] == lines


@pytest.mark.parametrize("end", [b"", b"\n", b"\nb"])
async def test_a_line_that_is_too_long_is_named_and_not_kept(end: bytes) -> None:
    lines = await read(in_memory(b"a\n" + b"x" * (MAX_LINE_BYTES + 1) + end))
    assert lines[:2] == [Line(1, b"a"), Line(2, None)]
    assert lines[2:] == ([Line(3, b"b")] if end == b"\nb" else [])


async def test_gzip_and_rewind(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    with open_lines(str(path)) as file:
        first = await read(file)
        assert file.position == file.size == path.stat().st_size
        file.rewind()
        assert await read(file) == first == [Line(1, b"a"), Line(2, b"b")]


@pytest.mark.parametrize(
    "damage", [b"no gzip at all", gzip.compress(b"a\n" * 9)[:-9]], ids=["other", "cut"]
)
async def test_damaged_gzip_is_said_plainly(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(damage)
    with open_lines(str(path)) as file, pytest.raises(BellwetherError, match="damaged or cut"):
        await read(file)


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_what_is_no_file_is_wrong_usage(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(ConfigurationError, match="cannot read"),
        open_lines(str(tmp_path / name)),
    ):
        pass


async def test_a_pipe_gives_what_is_there(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with open_lines(f"/dev/fd/{reading}") as file:
        assert file.size is None
        os.write(writing, b"a\nb\nhalf")
        lines = file.lines()
        assert await anext(lines) == Line(1, b"a")
        assert await anext(lines) == Line(2, b"b")
        os.close(writing)
        os.close(reading)
        assert await anext(lines) == Line(3, b"half")
        assert file.position == 8


async def test_a_pipe_can_be_spooled_to_be_read_twice() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a\nb\n")
    os.close(writing)
    with open_lines(f"/dev/fd/{reading}", rewindable=True) as file:
        first = await read(file)
        file.rewind()
        assert await read(file) == first == [Line(1, b"a"), Line(2, b"b")]
    os.close(reading)


def test_a_program_ends_though_standard_input_never_does() -> None:
    program = (
        "import asyncio\n"
        f"from {json_lines.__name__} import open_lines\n"
        "async def main():\n"
        "    with open_lines('-') as file:\n"
        "        async for line in file.lines():\n"
        "            print(line.data.decode(), flush=True)\n"
        "            return\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"one\n"


CSV = b"id,headline\n1,Acme rises\n2,Zeta falls\n"


@pytest.mark.parametrize("content", [CSV, '[{"id": 1}]'.encode("utf-16"), b'{\n "id": 1\n}\n'])
async def test_a_file_that_is_something_else_is_refused_before_its_first_line(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "export.txt"
    file.write_bytes(content)
    with open_lines(str(file)) as lines, pytest.raises(ConfigurationError, match="not JSON lines"):
        await anext(lines.lines())
    with open_lines(str(file), forced=True) as lines:
        assert await read(lines)


async def test_what_is_something_else_is_known_when_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "export.csv.gz"
    file.write_bytes(gzip.compress(CSV))
    with open_lines(str(file)) as lines, pytest.raises(ConfigurationError, match="this is CSV"):
        await anext(lines.lines())
