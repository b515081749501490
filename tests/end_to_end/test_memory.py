"""With Elasticsearch away and a long backlog, a worker's memory stays bounded."""

import asyncio
from pathlib import Path

import psutil
import pytest

from ops.servers import Elasticsearch
from ops.servers.guard import Guard
from stream.settings import load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import Raw, Worker, drained, publish
from tests.servers import Servers, running

TOPICS = ("financial-news", "customer-messages")
MEBIBYTE = 1024 * 1024
FULL_WINDOW = "Our quarterly figures came in below what the market had expected. " * 40
STEADY_SECONDS = 6.0


def backlog(count: int, run: str) -> list[Raw]:
    return [
        ("financial-news", encoded(news(f"{run}-n{i}", f"Acme number {i} reports lower sales")))
        if i % 2
        else ("customer-messages", encoded(message(f"{run}-m{i}", f"My payment {i} is pending")))
        for i in range(count)
    ]


def full_batch() -> list[Raw]:
    return [("customer-messages", encoded(message(f"full-{i}", FULL_WINDOW))) for i in range(64)]


def resident_bytes(pid: int) -> int:
    """Of the process and its children."""
    process = psutil.Process(pid)
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])


async def settled_bytes(pid: int) -> int:
    """The size once it has not grown for a while."""
    size, quiet = resident_bytes(pid), 0.0
    while quiet < STEADY_SECONDS:
        await asyncio.sleep(1)
        now = resident_bytes(pid)
        quiet = quiet + 1 if now <= size + MEBIBYTE // 2 else 0
        size = max(size, now)
    return size


@pytest.mark.long
async def test_a_backlog_does_not_grow_the_heap(
    servers: Servers, guard: Guard, namespace: str, tmp_path: Path
) -> None:
    elasticsearch = Elasticsearch(tmp_path / "elasticsearch", heap_mb=512)
    with running(guard, elasticsearch):
        settings = load_settings(
            home=tmp_path,
            namespace=namespace,
            kafka=servers.kafka.address,
            redis=servers.redis.address,
            elasticsearch=elasticsearch.address,
        )
        with Worker(settings, tmp_path / "log") as worker:
            worker.wait_ready()
            await publish(settings, [*full_batch(), *backlog(5_000, "warm")])
            await drained(settings, TOPICS, 180)
            before = resident_bytes(worker.pid)

            elasticsearch.stop_signal()
            await publish(settings, backlog(50_000, "waiting"))
            after = await settled_bytes(worker.pid)
            print(
                f"resident: {before / MEBIBYTE:.0f} MiB after 5,000 events, "
                f"{after / MEBIBYTE:.0f} MiB with 50,000 waiting"
            )
            assert after - before <= 64 * MEBIBYTE

            # It is alive and goes on when Elasticsearch is back.
            status, page = worker.get("/ready")
            assert (status, '"elasticsearch": false' in page) == (503, True)
            elasticsearch.continue_signal()
            worker.wait_ready()
            code, seconds = worker.terminate()
            assert code == 0
            assert seconds < 20
