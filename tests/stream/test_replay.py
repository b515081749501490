import asyncio
import gzip
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import BellwetherError, ConfigurationError, ServerUnavailable
from stream.json_lines import LineFile
from stream.replay import Order, Tally, replay
from stream.settings import Settings, load_settings
from tests.servers import Servers
from tests.stream.kafka_records import create_topics, records

RECORD = {"published_at": "2026-01-05T08:00:00Z", "headline": "Acme opens a mill", "source": "s"}
TOPIC = "financial-news"


@pytest.fixture
async def settings(servers: Servers, namespace: str) -> Settings:
    found = load_settings(kafka=servers.kafka.address, namespace=namespace)
    await create_topics(found, TOPIC)
    return found


def quiet(_: Tally, __: LineFile) -> None:
    return


async def run(settings: Settings, order: Order) -> Tally:
    """Replay runs its own loop, as on the command line."""
    return await asyncio.to_thread(replay, settings, order, quiet)


def write(path: Path, *lines: Any) -> str:
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return str(path)


async def test_every_line_arrives_once_and_is_counted(settings: Settings, tmp_path: Path) -> None:
    lines = [json.dumps({**RECORD, "id": f"n{n}"}) for n in range(3000)]
    path = tmp_path / "news.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    reports = []

    def report(tally: Tally, file: LineFile) -> None:
        reports.append((tally.sent, file.position))

    order = Order(str(path), TOPIC)
    tally = await asyncio.to_thread(replay, settings, order, report)
    arrived = await records(settings, TOPIC)
    assert Counter(record.value.decode() for record in arrived) == Counter(lines)
    assert {record.key.decode() for record in arrived} == {f"n{n}" for n in range(3000)}
    assert (tally.sent, tally.confirmed, tally.refused) == (3000, 3000, 0)
    assert tally.confirmed_bytes == sum(len(line) for line in lines) + sum(
        len(f"n{n}") for n in range(3000)
    )
    assert reports[-1] == (3000, path.stat().st_size)
    assert str(tally).startswith("3,000 records confirmed, ")


async def test_a_replay_repeated_gives_the_same_ids(settings: Settings, tmp_path: Path) -> None:
    order = Order(
        write(tmp_path / "x.jsonl", b'{"text": "a"}\n', b'{"text": "b"}\n'),
        TOPIC,
        fields={"headline": "text"},
    )
    await run(settings, order)
    await run(settings, order)
    ids = Counter(json.loads(record.value)["id"] for record in await records(settings, TOPIC))
    assert list(ids.values()) == [2, 2]


async def test_broken_lines_and_envelopes_arrive_as_they_are(
    settings: Settings, tmp_path: Path
) -> None:
    lines = [b"{broken", b"[1]", b"\xff\xfe", b'{"$base64": "Cgo="}', b'{"$null": true}']
    long = b'{"$repeat": "x", "times": 2000000}'
    await run(settings, Order(write(tmp_path / "x.jsonl", b"\n".join([*lines, long])), TOPIC))
    arrived = await records(settings, TOPIC)
    values = {record.value for record in arrived}
    assert values == {b"{broken", b"[1]", b"\xff\xfe", b"\n\n", None, b"x" * 2_000_000}
    assert all(record.key is None for record in arrived)


async def test_what_the_topic_cannot_take_is_named_and_passed_over(
    settings: Settings, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "x.jsonl",
        b'"first"\n{"$repeat": "x", "times": 5000000}\n"',
        b"x" * 9_000_000,
        b'"\n"last"\n',
    )
    tally = await run(settings, Order(path, TOPIC))
    assert (tally.confirmed, tally.refused, tally.too_long) == (2, 2, [2, 3])


async def test_the_last_event_is_moved_to_now(settings: Settings, tmp_path: Path) -> None:
    times = ["2026-01-05T08:00:00Z", "2026-01-05T10:00:00Z", "2026-01-05T09:00:00+00:00"]
    lines = [json.dumps({**RECORD, "id": time, "published_at": time}) for time in times]
    broken = json.dumps({**RECORD, "id": "old", "published_at": "1970-01-01T00:00:00Z"})
    path = write(tmp_path / "x.jsonl", "\n".join([*lines, broken]).encode())
    before = datetime.now(UTC)
    tally = await run(settings, Order(path, TOPIC, shift_to_now=True))
    assert tally.too_old == 2  # by one and by two hours
    found = {
        content["id"]: content["published_at"]
        for content in (json.loads(record.value) for record in await records(settings, TOPIC))
    }
    assert found.pop("old") == "1970-01-01T00:00:00Z"
    moved = [datetime.fromisoformat(found[time]) for time in times]
    assert abs(moved[1] - before) < timedelta(seconds=20)
    assert moved[1] - moved[0] == timedelta(hours=2)
    assert moved[1] - moved[2] == timedelta(hours=1)


async def test_the_speed_keeps_the_rhythm(settings: Settings, tmp_path: Path) -> None:
    times = ["2026-01-05T08:00:00Z", "2026-01-05T08:00:10Z", "2026-01-05T08:00:05Z", "none"]
    lines = [json.dumps({**RECORD, "id": time, "published_at": time}) for time in times]
    path = write(tmp_path / "x.jsonl", "\n".join(lines).encode())
    tally = await run(settings, Order(path, TOPIC, speed=10))
    assert 1.0 <= tally.seconds < 5
    arrived = await records(settings, TOPIC)
    assert json.loads(arrived[0].value)["id"] == times[0]
    assert arrived[-1].timestamp - arrived[0].timestamp >= 900


async def test_memory_does_not_grow_with_the_file(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("w") as file:
        for n in range(1500):
            file.write(json.dumps({**RECORD, "id": f"n{n}", "body": "x" * 60_000}) + "\n")
    # VmHWM and not getrusage, whose peak includes that of the process that forked.
    program = (
        "import sys\n"
        "from stream.replay import Order, replay\n"
        "from stream.settings import load_settings\n"
        "settings = load_settings(kafka=sys.argv[1], namespace=sys.argv[2])\n"
        "def peak(file):\n"
        "    tally = replay(settings, Order(file, 'financial-news'), lambda *_: None)\n"
        "    status = open('/proc/self/status').read()\n"
        "    return tally.confirmed, int(status.split('VmHWM:')[1].split()[0])\n"
        "(one, first), (many, last) = map(peak, sys.argv[3:])\n"
        "print(one, many, last - first)\n"
    )
    small = write(tmp_path / "y.jsonl", {**RECORD, "id": "n"})
    arguments = (settings.kafka, settings.namespace, small, str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=PIPE
    )
    output, _ = await process.communicate()
    one, many, grown_kib = map(int, output.split())
    assert (one, many) == (1, 1500)
    grown_mib = grown_kib / 1024
    print(f"90 MB of records: grew by {grown_mib:.0f} MiB")
    assert grown_mib < 40


def test_wrong_orders_are_wrong_usage(tmp_path: Path) -> None:
    for order in (
        Order("/absent", TOPIC),
        Order("/dev/null", TOPIC, speed=0),
        Order("/dev/null", TOPIC, speed=float("nan")),
        Order("/dev/null", TOPIC, fields={"title": "text"}),
    ):
        with pytest.raises(ConfigurationError):
            replay(load_settings(), order, quiet)


async def test_a_missing_topic_is_said_and_not_made(settings: Settings) -> None:
    with pytest.raises(BellwetherError, match=r"no topic .*-nowhere\. `bellwether init` creates"):
        await run(settings, Order("/dev/null", "nowhere"))


def test_a_kafka_that_is_away_is_said_soon() -> None:
    started = time.monotonic()
    settings = load_settings(kafka="127.0.0.1:1")
    with pytest.raises(ServerUnavailable, match="Connect call failed"):
        replay(settings, Order("/dev/null", TOPIC), quiet)
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("paced", [True, False], ids=["while it waits", "on a silent pipe"])
async def test_ctrl_c_confirms_what_is_under_way(
    settings: Settings, tmp_path: Path, paced: bool
) -> None:
    times = ["2026-01-05T08:00:00Z", "2026-01-06T08:00:00Z"]
    lines = [json.dumps({**RECORD, "id": time, "published_at": time}) for time in times]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "replay", "-", "--topic", TOPIC),
        *(("--speed", "2") if paced else ()),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={
            **os.environ,
            "BELLWETHER_KAFKA": settings.kafka,
            "BELLWETHER_NAMESPACE": settings.namespace,
        },
    )
    assert process.stdin is not None
    process.stdin.write("\n".join(lines[: 2 if paced else 1]).encode() + b"\n")
    async with asyncio.timeout(60):
        while not await records(settings, TOPIC):
            await asyncio.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stderr is not None
        output, complaints = await process.stdout.read(), await process.stderr.read()
        assert (await process.wait(), complaints) == (130, b"")
    assert output.startswith(b"1 record confirmed")
