import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.structs import OffsetAndMetadata
from elasticsearch import AsyncElasticsearch
from pydantic import SecretStr
from redis.asyncio import Redis

from ops.servers import Redis as RedisServer
from ops.servers.guard import Guard
from stream.doctor import examine, is_well
from stream.elasticsearch_checks import check_elasticsearch
from stream.findings import Finding, Level, Report
from stream.kafka_checks import check_kafka
from stream.redis_checks import check_redis
from stream.settings import Settings, load_settings
from stream.topic_ids import look
from stream.topics import initialise
from tests.servers import Servers, running

Check = Callable[[Settings, Report], object]


@pytest.fixture
async def settings(servers: Servers, namespace: str) -> Settings:
    """Of a namespace on which `init` was run."""
    found = load_settings(**servers.settings, namespace=namespace)
    await initialise(found)
    return found


@pytest.fixture
async def elasticsearch(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    client = AsyncElasticsearch(settings.elasticsearch)
    yield client
    await client.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def kafka(settings: Settings) -> list[Finding]:
    report = Report("Kafka")
    await check_kafka(settings, report)
    return report.findings


async def redis(settings: Settings) -> list[Finding]:
    report = Report("Redis")
    await check_redis(settings, report)
    return report.findings


async def index(settings: Settings) -> list[Finding]:
    report = Report("Elasticsearch")
    await check_elasticsearch(settings, report)
    return report.findings


def unwell(findings: list[Finding]) -> list[str]:
    """What an operator has to look at, with its mark."""
    return [f"{one.level.mark} {one.what}" for one in findings if one.level is not Level.FINE]


def said(findings: list[Finding], words: str) -> Finding:
    (found,) = [finding for finding in findings if words in finding.what]
    return found


async def test_after_init_only_the_worker_is_missing(settings: Settings) -> None:
    assert unwell(await kafka(settings)) == ["! no worker is running; 0 records waiting"]
    assert unwell(await redis(settings)) == []
    # The cluster's health is that of other tests' indices too.
    assert [line for line in unwell(await index(settings)) if "health is yellow" not in line] == []


async def test_versions_are_told(settings: Settings) -> None:
    assert said(await kafka(settings), "version 4.1 or later").level is Level.FINE
    assert said(await redis(settings), "version 7.").level is Level.FINE
    assert said(await index(settings), "version 8.").level is Level.FINE


async def test_before_init_the_way_to_topics_and_templates_is_said(
    servers: Servers, namespace: str
) -> None:
    settings = load_settings(**servers.settings, namespace=namespace)
    topics = said(await kafka(settings), "topics are missing")
    assert topics.level is Level.WRONG
    assert topics.what.count(settings.prefix) == 5
    templates = said(await index(settings), "index templates are missing")
    assert templates.level is Level.WRONG
    assert topics.advice == templates.advice == "run `bellwether init`"


# Kafka


async def test_topics_that_are_not_as_planned(servers: Servers, namespace: str) -> None:
    settings = load_settings(**servers.settings, namespace=namespace)
    odd = {
        "financial-news": {"message.timestamp.type": "CreateTime", "max.message.bytes": "1000"},
        "labels": {"cleanup.policy": "delete", "max.message.bytes": "4194304"},
        "feedback": {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": "4194304",
            "retention.ms": "1000",
        },
    }
    async with admin_of(settings) as admin:
        await admin.create_topics(
            [NewTopic(settings.topic(name), 1, 1, topic_configs=odd[name]) for name in odd]
        )
    await initialise(settings)
    names = settings.topic("financial-news"), settings.topic("feedback"), settings.topic("labels")
    assert unwell(await kafka(settings))[:-1] == [
        f"! {names[0]}: message.timestamp.type is CreateTime, planned is LogAppendTime: "
        "the age of records is judged by their senders' clocks",
        f"✗ {names[0]}: max.message.bytes is 1000, planned is 4194304: "
        "large records could not be written",
        f"! {names[1]}: retention.ms is 1000, planned is 604800000: "
        "a long outage could lose records",
        f"! {names[2]}: message.timestamp.type is CreateTime, planned is LogAppendTime: "
        "the age of records is judged by their senders' clocks",
        f"✗ {names[2]}: cleanup.policy is delete, planned is compact: labels would be deleted",
    ]


async def test_the_group_and_its_lag(settings: Settings) -> None:
    topic = settings.topic("financial-news")
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, str(number).encode(), partition=number % 2)
    assert said(await kafka(settings), "10 records waiting").level is Level.WARNING
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka,
        group_id=settings.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        partition_assignment_strategy=[AsWorkersDo],
    ) as worker:
        seen = 0
        while seen < 10:
            seen += sum(map(len, (await worker.getmany(timeout_ms=200)).values()))
        (first, *_) = sorted(worker.assignment())
        await worker.commit({first: 3})
        found = said(await kafka(settings), "1 worker process, 7 records behind")
        assert found.level is Level.FINE
    assert said(await kafka(settings), "7 records waiting").level is Level.WARNING


async def test_a_codec_that_is_missing_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(await kafka(settings), "gzip, snappy, lz4, zstd").level is Level.FINE
    monkeypatch.setattr("aiokafka.codec.cramjam", None)  # as without the package
    found = said(await kafka(settings), "snappy, lz4, zstd cannot be read")
    assert (found.level, "make install" in found.advice) == (Level.WRONG, True)


class AsWorkersDo(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """Shares partitions by the workers' name for it."""

    name = "faust"


@asynccontextmanager
async def members(
    settings: Settings, number: int, topic: str, assignor: type = AsWorkersDo
) -> AsyncIterator[None]:
    """So many consumers in the workers' group."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            await stack.enter_async_context(
                AIOKafkaConsumer(
                    settings.topic(topic),
                    bootstrap_servers=settings.kafka,
                    group_id=settings.group,
                    enable_auto_commit=False,
                    client_id="a-console",
                    partition_assignment_strategy=[assignor],
                )
            )
        yield


async def test_workers_without_a_partition(servers: Servers, namespace: str) -> None:
    settings = load_settings(**servers.settings, namespace=namespace, kafka_partitions=1)
    async with admin_of(settings) as admin:
        await admin.create_topics([NewTopic(settings.topic("feedback"), 1, 1)])
    async with members(settings, 1, "feedback"):
        group = said(await kafka(settings), "worker process")
        assert (group.level, group.what) == (Level.FINE, "1 worker process, 0 records behind")
    await initialise(settings)
    async with members(settings, 3, "financial-news"):
        group = said(await kafka(settings), "worker process")
    assert group.level is Level.WARNING
    assert group.what == "3 worker processes for 2 partitions, 0 records behind: some have none"


async def test_a_foreign_client_is_no_worker(settings: Settings) -> None:
    async with members(settings, 2, "financial-news", RoundRobinPartitionAssignor):
        findings = await kafka(settings)
    foreign = said(findings, "is no worker: a-console at 127.0.0.1")
    assert foreign.level is Level.WRONG
    assert said(findings, "no worker is running").level is Level.WARNING
    assert unwell(await kafka(settings)) == ["! no worker is running; 0 records waiting"]


async def test_what_expired_unread_and_what_an_older_topic_left(settings: Settings) -> None:
    """Offsets are as a group left them that is away: with the id of their topic, or without."""
    topic = settings.topic("financial-news")
    parts = [TopicPartition(topic, number) for number in range(4)]
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for number in range(40):
            await producer.send_and_wait(topic, b"{}", partition=number % 4)
    async with admin_of(settings) as admin:
        here = (await look(admin._client, [topic]))[topic].id
        await admin.delete_records({part: RecordsToDelete(7) for part in parts[:3]})
    group = AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=settings.group)
    async with group:
        group.assign(parts)
        left = (5, here), (2, ""), (10, here), (10, "another")
        await group.commit(
            {part: OffsetAndMetadata(*at) for part, at in zip(parts, left, strict=True)}
        )
    findings = await kafka(settings)
    lost = said(findings, "expired")
    assert lost.level is Level.WARNING
    assert lost.what.partition(": ")[2] == (
        "7 records expired before they were read (partition 0: 2, partition 1: 5), and are lost"
    )
    # Three left in each of the first two, and the last partition from its beginning.
    assert said(findings, "no worker is running; 16 records waiting")


# Redis


async def test_settings_of_redis_that_lose_alerts(guard: Guard, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    with running(guard, server):
        settings = load_settings(redis=server.address)
        client = Redis.from_url(server.address)
        await client.config_set("appendonly", "no")
        await client.config_set("appendfsync", "everysec")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("maxmemory", "1mb")
        await client.aclose()
        findings = await redis(settings)
    *memory, only, fsync, policy = unwell(findings)
    assert "of its memory limit is used" in memory[0]
    assert only == "✗ appendonly is no: a restart of Redis forgets every alert"
    assert fsync.startswith("✗ appendfsync is everysec: a crash")
    assert policy.startswith("✗ maxmemory-policy is allkeys-lru")
    assert "`redis-cli config set appendonly yes`" in said(findings, "appendonly").advice


async def test_a_redis_that_wants_another_password(guard: Guard, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", password="right")
    with running(guard, server):
        for password in ("", ":wrong@"):
            address = f"redis://{password}127.0.0.1:{server.port}/0"
            (finding,) = await redis(load_settings(redis=address))
            assert finding.level is Level.WRONG
            assert finding.what == f"127.0.0.1:{server.port}/0 refuses our password"
            assert "wrong" not in finding.what + finding.advice
        assert unwell(await redis(load_settings(redis=server.address))) == []


async def test_a_redis_that_hides_its_settings(guard: Guard, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    with running(guard, server):
        client = Redis.from_url(server.address)
        await client.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "+@all", "-config")  # type: ignore[no-untyped-call]
        await client.aclose()
        address = f"redis://guest:pw@127.0.0.1:{server.port}/0"
        (warning,) = unwell(await redis(load_settings(redis=address)))
    assert "CONFIG is not permitted" in warning


# Elasticsearch


async def test_a_blocked_index_is_named(
    settings: Settings, elasticsearch: AsyncElasticsearch
) -> None:
    name = f"{settings.prefix}financial-news-2026.11"
    await elasticsearch.indices.create(index=name)
    await elasticsearch.indices.put_settings(index=name, settings={"index.blocks.write": True})
    found = said(await index(settings), "is blocked")
    assert (found.level, found.what) == (
        Level.WRONG,
        f"index {name} is blocked: index write (api)",
    )
    await elasticsearch.indices.delete(index=name)


async def test_few_shards_left_and_replicas_without_a_place(
    settings: Settings, elasticsearch: AsyncElasticsearch
) -> None:
    name = f"{settings.prefix}alerts-2026.11"
    await elasticsearch.indices.create(index=name, settings={"number_of_replicas": 1})
    used = (await elasticsearch.cluster.health())["active_shards"]
    limit = {"cluster.max_shards_per_node": used + 5}
    await elasticsearch.cluster.put_settings(persistent=limit)
    try:
        findings = await index(settings)
    finally:
        await elasticsearch.cluster.put_settings(persistent=dict.fromkeys(limit))
        await elasticsearch.indices.delete(index=name)
    assert said(findings, "shards are in use").level is Level.WARNING
    assert "bellwether prune" in said(findings, "shards are in use").advice
    assert said(findings, "health is yellow: 1 shard without a place").level is Level.WARNING


# Everything


async def test_servers_that_are_away_are_each_told_soon_and_plainly() -> None:
    settings = load_settings(
        kafka="127.0.0.1:1",
        redis=SecretStr("redis://:secret@127.0.0.1:1/0"),
        elasticsearch="http://127.0.0.1:1",
    )
    started = time.monotonic()
    findings = await asyncio.gather(kafka(settings), redis(settings), index(settings))
    assert time.monotonic() - started < 6
    for (finding,) in findings:
        assert finding.level is Level.WRONG
        assert "127.0.0.1:1" in finding.what
        assert "make up" in finding.advice
        assert "secret" not in finding.what + finding.advice


async def test_servers_that_are_silent_are_not_waited_for(silent_port: int) -> None:
    address = f"127.0.0.1:{silent_port}"
    settings = load_settings(
        kafka=address, redis=f"redis://{address}/0", elasticsearch=f"http://{address}"
    )
    started = time.monotonic()
    findings = await asyncio.gather(kafka(settings), redis(settings), index(settings))
    assert time.monotonic() - started < 7
    for (finding,) in findings:
        assert finding.level is Level.WRONG
        assert "time" in finding.what or "does not answer" in finding.what


async def test_wrong_files_are_named_and_the_rest_is_examined(
    settings: Settings, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- name: 17\n")
    sources = tmp_path / "sources.yaml"
    sources.write_text("- topic: wire\n  kind: letters\n")
    findings = await examine(settings.model_copy(update={"rules": rules, "sources": sources}))
    wrong = [finding for finding in findings if finding.part == "files"]
    assert [f"{one.level.mark} {one.what.partition(': ')[0]}" for one in wrong] == [
        f"✗ {sources}:2",
        f"✗ {rules}:1",
        "✓ taxonomy, risk",
    ]
    assert wrong[1].advice == "correct the file, or unset BELLWETHER_RULES"
    assert said(findings, "health is green").level is Level.FINE
    assert not is_well(findings)


async def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    settings = load_settings(model=tmp_path, kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    (finding,) = [one for one in await examine(settings) if one.part == "model"]
    assert finding.level is Level.WRONG
    assert str(tmp_path) in finding.what
    assert "BELLWETHER_MODEL" in finding.advice


async def test_a_misspelt_setting_is_told_with_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BELLWETHER_KAFAK", "x")
    monkeypatch.setenv("BELLWETHER_COLOUR_OF_HAIR", "x")
    monkeypatch.setenv("bellwether_log_level", "INFO")  # a setting, in small letters
    settings = load_settings(model=tmp_path, kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    findings = [one for one in await examine(settings) if one.part == "settings"]
    assert [(one.level.mark, one.what, one.advice) for one in findings] == [
        (
            "!",
            "BELLWETHER_COLOUR_OF_HAIR is no setting, and nobody reads it",
            "unset it: `README.md` lists the settings",
        ),
        (
            "!",
            "BELLWETHER_KAFAK is no setting, and nobody reads it",
            "say BELLWETHER_KAFKA, or unset it",
        ),
    ]


def test_a_warning_is_no_failure() -> None:
    report = Report("x")
    report.fine("a")
    report.warn("b", "c")
    assert is_well(report.findings)
    report.wrong("d", "e")
    assert not is_well(report.findings)
    assert report.findings[1].as_dict() == {
        "part": "x",
        "level": "warning",
        "what": "b",
        "advice": "c",
    }
