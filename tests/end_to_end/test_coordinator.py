"""The broker that coordinates the workers' group dies, and another one takes over."""

import asyncio
from pathlib import Path

import pytest

from ops.servers import Elasticsearch, Redis
from ops.servers.guard import Guard
from stream.brokers import broker_admin
from stream.group_members import members_of
from stream.settings import Settings, load_settings
from stream.topics import initialise
from tests.end_to_end.harness import Worker, documents, drained
from tests.end_to_end.topic_changes import NEWS, names, put
from tests.end_to_end.two_brokers import First, Second
from tests.servers import install, running

TOPICS = (NEWS, "customer-messages", "feedback")


async def coordinated_by(node: int, settings: Settings) -> Settings:
    """With a namespace whose group this broker coordinates."""
    async with broker_admin(settings) as admin:
        await members_of(admin, "any")  # waits until the cluster is ready for groups
        for number in range(100):
            found = settings.model_copy(update={"namespace": f"moved-{number}"})
            if await admin.find_coordinator(found.group) == node:
                return found
    raise AssertionError(f"broker {node} coordinates no group")


@pytest.mark.long
async def test_a_coordinator_that_moves(tmp_path: Path, guard: Guard) -> None:
    install()
    first = First(tmp_path / "first", heap_mb=384)
    second = Second(tmp_path / "second", first)
    redis, index = Redis(tmp_path / "redis"), Elasticsearch(tmp_path / "index", heap_mb=512)
    with running(guard, first, redis, index), running(guard, second):
        settings = await coordinated_by(
            2,
            load_settings(
                home=tmp_path,
                kafka=f"{first.address},{second.address}",
                kafka_replication=2,
                redis=redis.address,
                elasticsearch=index.address,
            ),
        )
        await initialise(settings)
        with (
            Worker(settings, tmp_path / "a") as one,
            Worker(settings, tmp_path / "b") as two,
        ):
            one.wait_ready()
            two.wait_ready()
            wanted = set()
            for turn in range(3):
                sent = names(f"turn-{turn}", 40)
                wanted |= {*sent}
                await put(settings, sent, 4)
                await drained(settings, TOPICS, 60)
                if turn == 0:
                    second.kill()
                elif turn == 1:
                    await asyncio.to_thread(second.start)
                    await asyncio.to_thread(second.wait_ready)
            assert dict(await documents(settings, NEWS)) == dict.fromkeys(wanted, 1)
            one.wait_ready(20)
            two.wait_ready(20)
            assert "starting it again" not in one.log.read_text() + two.log.read_text()
