"""Topics that change while workers read them, or while they are away."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.clients import kafka_options
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, message
from tests.end_to_end.harness import Worker, dead_letters, documents, drained, metric, publish
from tests.end_to_end.topic_changes import (
    NEWS,
    add_partitions,
    create,
    delete,
    expire,
    names,
    put,
)
from tests.servers import Servers

TOPICS = (NEWS, "customer-messages")
MINUTE_SECONDS = 60.0
EXPIRED = "bellwether_records_expired_total"


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **servers.settings)


async def until(true: Callable[[], bool], seconds: float = MINUTE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def all_stored(settings: Settings, wanted: set[str]) -> None:
    """Wait until there are documents of all these."""
    deadline = time.monotonic() + MINUTE_SECONDS
    while lacking := wanted - set(await documents(settings, NEWS)):
        assert time.monotonic() < deadline, f"{len(lacking)} are lacking"
        await asyncio.sleep(0.5)


async def stored(
    settings: Settings, wanted: set[str], seconds: float = MINUTE_SECONDS, alias: str = NEWS
) -> None:
    """Wait until these are the documents."""
    deadline = time.monotonic() + seconds
    while (found := set(await documents(settings, alias))) != wanted:
        assert time.monotonic() < deadline, f"{len(found)} of {len(wanted)}: {wanted ^ found}"
        await asyncio.sleep(0.5)


def lines(worker: Worker, words: str) -> list[str]:
    return [line for line in worker.log.read_text().splitlines() if words in line]


# Partitions that are added


async def test_added_partitions_are_read_within_a_minute(
    settings: Settings, tmp_path: Path
) -> None:
    with Worker(settings, tmp_path / "a") as one, Worker(settings, tmp_path / "b") as two:
        one.wait_ready()
        two.wait_ready()
        before, after = names("before", 20), names("after", 40)
        await put(settings, before, 4)
        await stored(settings, {*before})
        await add_partitions(settings, 8)
        await put(settings, after, 8)
        await stored(settings, {*before, *after})
        await drained(settings, TOPICS, 20)
        assert one.get("/ready")[0] == two.get("/ready")[0] == 200


@pytest.mark.long
async def test_a_worker_that_stood_by_takes_an_added_partition(
    settings: Settings, tmp_path: Path
) -> None:
    few = settings.model_copy(update={"kafka_partitions": 1})
    with Worker(few, tmp_path / "a") as one:
        one.wait_ready()
        with Worker(few, tmp_path / "b") as two:
            await until(lambda: two.get("/live")[0] == 200)
            for topic in (NEWS, "customer-messages", "feedback"):
                await add_partitions(settings, 2, topic)
            one.wait_ready()
            two.wait_ready()
            await put(settings, names("n", 10), 2)
            await stored(settings, {*names("n", 10)})


# Topics that are deleted and made anew


async def test_a_topic_made_anew_is_read_from_its_beginning(
    settings: Settings, tmp_path: Path
) -> None:
    """Also where it soon has more records than the old one had, so that the offsets fit."""
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        old, new = names("old", 40), names("new", 80)
        await put(settings, old, 4)
        await stored(settings, {*old})
        await delete(settings)
        await create(settings, 4)
        await put(settings, new, 4)
        await stored(settings, {*old, *new})
        await drained(settings, TOPICS, 20)
        assert worker.get("/ready")[0] == 200
        assert len(lines(worker, "was made anew")) == 1
        assert metric(worker.get("/metrics")[1], EXPIRED) == 0


@pytest.mark.long
async def test_while_a_topic_is_away_others_are_read_and_nobody_is_ready(
    settings: Settings, tmp_path: Path
) -> None:
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        old, new = names("old", 40), names("new", 9)
        await put(settings, old, 4)
        await delete(settings)
        await until(lambda: '"topics": false' in worker.get("/ready")[1])
        assert worker.get("/ready")[0] == 503
        asked = names("asked", 20)
        await publish(
            settings, [("customer-messages", encoded(message(name, "Hello"))) for name in asked]
        )
        await stored(settings, {*asked}, alias="customer-messages")
        await drained(settings, ["customer-messages"], 20)
        await create(settings, 3)
        await put(settings, new, 3)
        await all_stored(settings, {*new})
        worker.wait_ready(20)
        await drained(settings, TOPICS, 20)
        assert not lines(worker, "starting it again")


@pytest.mark.long
async def test_a_topic_made_anew_under_stopped_workers(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "a") as worker:
        worker.wait_ready()
        await put(settings, names("old", 40), 4)
        await drained(settings, TOPICS, 60)
        worker.terminate()
    await delete(settings)
    await create(settings, 4)
    await put(settings, names("new", 60), 4)
    with Worker(settings, tmp_path / "b") as worker:
        worker.wait_ready()
        await stored(settings, {*names("old", 40), *names("new", 60)})
        await drained(settings, TOPICS, 20)


@pytest.mark.long
async def test_a_topic_made_anew_under_load_with_fewer_partitions(
    settings: Settings, tmp_path: Path
) -> None:
    with Worker(settings, tmp_path / "a") as one, Worker(settings, tmp_path / "b") as two:
        one.wait_ready()
        two.wait_ready()
        await put(settings, names("old", 40), 4)
        for turn in range(3):
            await publish_many(settings, f"lost-{turn}")
            await delete(settings)
            await create(settings, 3 - turn)
        new = names("new", 60)
        await put(settings, new, 1)
        await all_stored(settings, {*new})
        await drained(settings, TOPICS, 20)
        assert not lines(one, "starting it again") + lines(two, "starting it again")


async def publish_many(settings: Settings, kind: str) -> None:
    await put(settings, names(kind, 200), 1)


@pytest.mark.long
async def test_offsets_behind_the_end(settings: Settings, tmp_path: Path) -> None:
    """As after a broker's death that alone had the newest records, or set by hand."""
    with Worker(settings, tmp_path / "a") as worker:
        worker.wait_ready()
        await put(settings, names("n", 20), 4)
        await drained(settings, TOPICS, 60)
        worker.terminate()
    part = TopicPartition(settings.topic(NEWS), 2)
    async with AIOKafkaConsumer(**kafka_options(settings), group_id=settings.group) as group:
        group.assign([part])
        await group.commit({part: 1_000})
    await put(settings, names("m", 20), 4)
    with Worker(settings, tmp_path / "b") as worker:
        worker.wait_ready()
        await stored(settings, {*names("n", 20), *names("m", 20)})
        await drained(settings, TOPICS, 20)
        assert len(lines(worker, "partition 2 ends before the offset")) == 1
        assert metric(worker.get("/metrics")[1], EXPIRED) == 0
        assert len(lines(worker, "partitions assigned")) <= 2


@pytest.mark.long
async def test_dead_letters_made_anew(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        for turn in range(2):
            await publish(settings, [(NEWS, b"broken")] * 10)
            await drained(settings, TOPICS, 90)
            assert len(await dead_letters(settings)) == 10
            if not turn:
                await delete(settings, "dead-letters")
                await create(settings, 1, "dead-letters")
        assert not lines(worker, "starting it again")


# Records that retention takes


async def read_by_a_worker(settings: Settings, log: Path) -> None:
    """Two records of each partition, by a worker that has ended since."""
    with Worker(settings, log) as worker:
        worker.wait_ready()
        await put(settings, names("read", 8), 4)
        await drained(settings, TOPICS, 60)
        worker.terminate()


async def test_what_expired_behind_a_stopped_worker_is_said_once(
    settings: Settings, tmp_path: Path
) -> None:
    await read_by_a_worker(settings, tmp_path / "a")
    await put(settings, names("unread", 40), 4)
    await expire(settings, 0, 9)
    await expire(settings, 1, 12)
    topic = settings.topic(NEWS)
    with Worker(settings, tmp_path / "b") as worker:
        worker.wait_ready()
        await drained(settings, TOPICS, 60)
        said = lines(worker, "expired")
        assert sorted(line.partition("stream.")[2] for line in said) == [
            f"runtime: {topic}, partition 0: 7 records (offsets 2 to 8) expired before they were "
            "read, and are lost",
            f"runtime: {topic}, partition 1: 10 records (offsets 2 to 11) expired before they were "
            "read, and are lost",
        ]
        assert metric(worker.get("/metrics")[1], EXPIRED, topic=topic) == 17
        assert len(await documents(settings, NEWS)) == 48 - 17
        worker.terminate()
    with Worker(settings, tmp_path / "c") as worker:
        worker.wait_ready()
        await put(settings, ["last"], 1)
        await drained(settings, TOPICS, 60)
        assert not lines(worker, "expired")


@pytest.mark.long
async def test_a_partition_that_expired_as_a_whole_is_said_once(
    settings: Settings, tmp_path: Path
) -> None:
    """There is no record behind the gap whose acknowledgement would move the offset."""
    await read_by_a_worker(settings, tmp_path / "a")
    await put(settings, names("unread", 8), 1)
    await expire(settings, 0, 10)
    for turn in range(2):
        with Worker(settings, tmp_path / f"log-{turn}") as worker:
            worker.wait_ready()
            await drained(settings, TOPICS, 20)
            assert len(lines(worker, "8 records (offsets 2 to 9) expired")) == 1 - turn
            worker.terminate()


@pytest.mark.long
async def test_what_expires_under_a_worker_that_hangs(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        await put(settings, names("read", 8), 4)
        await drained(settings, TOPICS, 60)
        process = the_process(worker)
        process.suspend()
        await asyncio.sleep(2)  # the request under way is answered, and the answer holds nothing
        await put(settings, names("unread", 20), 1)
        await expire(settings, 0, 12)
        process.resume()
        await stored(settings, {*names("read", 8), *names("unread", 20)[10:]})
        assert len(lines(worker, "10 records (offsets 2 to 11) expired")) == 1
        assert metric(worker.get("/metrics")[1], EXPIRED) == 10
        await drained(settings, TOPICS, 20)


def the_process(worker: Worker) -> psutil.Process:
    """The one under the supervisor, without Python's own resource tracker."""
    (found,) = [
        child
        for child in psutil.Process(worker.pid).children()
        if "resource_tracker" not in " ".join(child.cmdline())
        and "watcher" not in " ".join(child.cmdline())
    ]
    return found


# The group


async def test_a_rebalance_puts_no_false_error_into_the_log(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust looks for partitions that are not fetched once it has run for five minutes; here the
    minutes are one second."""
    monkeypatch.setenv("STREAM_PROCESSING_TIMEOUT", "1")
    monkeypatch.setenv("BROKER_COMMIT_LIVELOCK_SOFT_TIMEOUT", "1")
    with Worker(settings, tmp_path / "a") as one:
        one.wait_ready()
        await put(settings, names("n", 8), 4)
        await asyncio.sleep(3)
        for turn in range(4):
            with Worker(settings, tmp_path / f"b{turn}") as other:
                other.wait_ready()
                await asyncio.sleep(2)
        await put(settings, names("m", 8), 4)
        await stored(settings, {*names("n", 8), *names("m", 8)})
        await asyncio.sleep(2)
        assert [line for line in lines(one, " ERROR ") if " aiokafka" not in line] == []


async def test_a_foreign_client_in_the_group_is_met(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "a") as worker:
        worker.wait_ready()
        worker.terminate()
    await put(settings, names("n", 8), 4)
    foreign = AIOKafkaConsumer(
        settings.topic(NEWS),
        **kafka_options(settings),
        group_id=settings.group,
        enable_auto_commit=False,
    )
    await foreign.start()
    with Worker(settings, tmp_path / "b") as worker:
        await until(lambda: bool(lines(worker, "InconsistentGroupProtocolError")))
        assert worker.get("/ready")[0] == 503
        await foreign.stop()
        await stored(settings, {*names("n", 8)})
        worker.wait_ready()
        assert not lines(worker, "starting it again")
