"""Runs real workers against real servers and counts what came of it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from elasticsearch import AsyncElasticsearch, NotFoundError

from ops.servers.ports import free_port, is_free
from schemas.alerts import Alert
from schemas.dead_letters import DeadLetter
from schemas.labels import LabelRecord
from stream.brokers import send
from stream.clients import consumer_options, kafka_options, make_elasticsearch, make_redis
from stream.dead_letter_reader import read_dead_letters
from stream.settings import Settings

READY_SECONDS = 60.0
COMMAND_SECONDS = 1_800.0  # a trainer steps back for whatever else runs
PAGE = 5_000

Raw = tuple[str, bytes | None]  # topic without namespace, value


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a process reads them, secrets included."""
    given: dict[str, str] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
            given[f"BELLWETHER_{name.upper()}"] = str(plain)
    return given


def bellwether(settings: Settings, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    """A command that must succeed, as its own process; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", *map(str, words)],
        env={"PATH": "", **environment(settings)},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def _web_port(processes: int) -> int:
    """The first of as many free ports in a row."""
    while True:
        port = free_port()
        if all(is_free(port + index) for index in range(1, processes)):
            return port


@dataclass
class Worker:
    """`bellwether worker` as its own process, its log in a file."""

    settings: Settings
    log: Path
    processes: int = 1
    port: int = 0
    popen: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.port = self.port or _web_port(self.processes)

    def start(self) -> "Worker":
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BELLWETHER_")}
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "stream", "worker", "--processes", str(self.processes)],
                env=inherited
                | environment(self.settings)
                | {"BELLWETHER_WEB_PORT": str(self.port)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the worker; (0, "") while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, seconds: float = READY_SECONDS) -> "Worker":
        deadline = time.monotonic() + seconds
        while self.get("/ready")[0] != 200:
            assert self.popen is not None
            assert self.popen.poll() is None, f"the worker ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"the worker is not ready:\n{self.tail()}"
            time.sleep(0.1)
        return self

    def serves(self) -> set[str]:
        """The versions of the model that it tells."""
        lines = self.get("/metrics")[1].splitlines()
        return {line.split('"')[1] for line in lines if line.startswith("bellwether_model_info{")}

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """kill -9 of the supervisor; its processes die with it."""
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait()

    def terminate(self, seconds: float = 25.0) -> tuple[int, float]:
        """SIGTERM; the exit code and the seconds it took."""
        assert self.popen is not None
        started = time.monotonic()
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(seconds), time.monotonic() - started

    def __enter__(self) -> "Worker":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.kill()


async def publish(settings: Settings, records: Iterable[Raw]) -> None:
    """Send values to topics and wait until the broker has them all."""
    producer = AIOKafkaProducer(
        **kafka_options(settings), acks="all", linger_ms=20, max_request_size=5 * 1024 * 1024
    )
    await producer.start()
    try:
        sent = [
            await send(producer, settings.topic(topic), None, value) for topic, value in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def put_labels(settings: Settings, labels: Iterable[LabelRecord]) -> None:
    """Straight into the topic of labels, past the worker's checks."""
    producer = AIOKafkaProducer(**kafka_options(settings), acks="all", linger_ms=20)
    await producer.start()
    try:
        topic = settings.topic("labels")
        sent = [await send(producer, topic, label.key, label.to_json()) for label in labels]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def lags(settings: Settings, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """End of what can be read minus committed offset, for each partition."""
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    consumer = AIOKafkaConsumer(**consumer_options(settings))
    await admin.start()
    await consumer.start()
    try:
        described = await admin.describe_topics([settings.topic(topic) for topic in topics])
        partitions = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(settings.group)
        return {
            tp: ends[tp] - max(0, committed[tp].offset if tp in committed else 0)
            for tp in partitions
        }
    finally:
        await consumer.stop()
        await admin.close()


async def drained(settings: Settings, topics: Sequence[str], seconds: float) -> None:
    """Wait until the committed offsets stand at the log's end."""
    deadline = time.monotonic() + seconds
    while any(behind := await lags(settings, topics)) and any(behind.values()):
        assert time.monotonic() < deadline, f"still behind: {sum(behind.values())} records"
        await asyncio.sleep(0.5)


async def documents(settings: Settings, alias: str) -> Counter[str]:
    """How often each id stands behind an alias; an id in two months counts twice."""
    client = make_elasticsearch(settings)
    try:
        return Counter([hit["_id"] async for hit in _hits(client, settings.prefix + alias)])
    finally:
        await client.close()


async def sources(settings: Settings, alias: str) -> dict[str, dict[str, Any]]:
    """The documents behind an alias by id."""
    client = make_elasticsearch(settings)
    try:
        hits = _hits(client, settings.prefix + alias, source=True)
        return {hit["_id"]: hit["_source"] async for hit in hits}
    finally:
        await client.close()


async def _hits(client: AsyncElasticsearch, alias: str, source: bool = False) -> Any:
    try:
        await client.indices.refresh(index=alias)
        answer = await client.search(index=alias, size=PAGE, scroll="1m", source=source)
    except NotFoundError:
        return
    while hits := answer["hits"]["hits"]:
        for hit in hits:
            yield hit
        answer = await client.scroll(scroll_id=answer["_scroll_id"], scroll="1m")


async def dead_letters(settings: Settings) -> dict[tuple[str, int, int], DeadLetter]:
    """The dead letters by identity; copies fall together."""
    letters = [letter async for letter in read_dead_letters(settings)]
    assert None not in letters
    return {letter.identity: letter for letter in letters if letter}


async def alert_entries(settings: Settings) -> list[Alert]:
    """Every entry of the alert stream, in order."""
    redis = make_redis(settings)
    try:
        entries: Any = await redis.xrange(f"{settings.prefix}bellwether:alerts")
        return [Alert.from_json(fields[b"alert"]) for _, fields in entries]
    finally:
        await redis.aclose()


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    wanted: Mapping[str, str] = {k: f'{k}="{v}"' for k, v in labels.items()}
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.split("{")[0].split(" ")[0] == name
        and all(label in line for label in wanted.values())
    )
