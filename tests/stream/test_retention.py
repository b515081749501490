"""What prune and forget remove from real servers, and what they leave alone."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from elasticsearch import AsyncElasticsearch
from redis.asyncio import Redis

from schemas import labels
from schemas.alerts import Alert, Severity
from schemas.documents import Write, alert_change, index_name
from schemas.errors import BellwetherError, ServerUnavailable
from stream import retention
from stream.alert_store import AlertStore
from stream.alerts import Judged, Match
from stream.clients import make_elasticsearch, make_redis
from stream.elastic import ElasticSink
from stream.indices import install_templates
from stream.retention import Forgotten, forget, prune
from stream.settings import Settings, load_settings
from stream.topic_reader import read_topic
from stream.topics import initialise
from tests.servers import Servers
from tests.stream.alert_events import version

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MESSAGES = "customer-messages"
PIN = "I forgot my PIN"


@pytest.fixture
def settings(servers: Servers, namespace: str) -> Settings:
    return load_settings(**servers.settings, namespace=namespace, kafka_partitions=2)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    client = make_elasticsearch(settings)
    yield client
    await client.close()


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    redis = make_redis(settings)
    yield redis
    await redis.aclose()


async def ids(client: AsyncElasticsearch, alias: str) -> set[str]:
    await client.indices.refresh(index=alias, ignore_unavailable=True)
    found = await client.search(index=alias, size=10_000, ignore_unavailable=True)
    return {hit["_id"] for hit in found["hits"]["hits"]}


async def write(client: AsyncElasticsearch, writes: Sequence[Write]) -> None:
    assert await ElasticSink(client, lambda: None).write(writes) == []


def message(settings: Settings, event_id: str, customer_id: str, sent_at: datetime = NOW) -> Write:
    doc = {"id": event_id, "customer_id": customer_id, "text": PIN, "sent_at": sent_at.isoformat()}
    return Write(index_name(settings.prefix, MESSAGES, sent_at), event_id, doc)


def alert_document(settings: Settings, alert: Alert) -> Write:
    change = alert_change(alert, settings.prefix)
    return Write(*change.place, change.doc)


# prune


@pytest.fixture
async def months(client: AsyncElasticsearch, settings: Settings) -> list[str]:
    """Indices of this namespace, and of others that resemble it."""
    await install_templates(client, settings.prefix)
    names = [
        f"{settings.prefix}{base}-{month}"
        for base in ("financial-news", MESSAGES, "alerts", "drift")
        for month in ("2025.12", "2026.09", "2026.10", "2026.11")
    ]
    for name in names:
        await client.indices.create(index=name)
    return names


async def test_prune_deletes_whole_months_that_are_old(
    settings: Settings, client: AsyncElasticsearch, months: list[str]
) -> None:
    old = sorted(name for name in months if name.endswith(("2025.12", "2026.09")))
    thirty_days = timedelta(days=30)  # October ended 22 days ago

    assert await prune(settings, thirty_days, now=NOW, dry_run=True) == old
    assert await client.indices.exists(index=months)
    assert await prune(settings, thirty_days, now=NOW) == old
    assert await prune(settings, thirty_days, now=NOW) == []

    left = await client.indices.get(index=f"{settings.prefix}*")
    assert sorted(left.body) == sorted(set(months) - set(old))


async def test_a_month_is_old_from_its_end(settings: Settings, months: list[str]) -> None:
    day = timedelta(days=1)
    first_of_november = datetime(2026, 11, 1, tzinfo=UTC)
    almost = first_of_november + day - timedelta(seconds=1)

    def october(names: list[str]) -> bool:
        return any(name.endswith("2026.10") for name in names)

    assert not october(await prune(settings, day, now=almost, dry_run=True))
    assert october(await prune(settings, day, now=first_of_november + day, dry_run=True))


async def test_prune_reaches_closed_indices(
    settings: Settings, client: AsyncElasticsearch, months: list[str]
) -> None:
    await client.indices.close(index=months[0])
    assert months[0] in await prune(settings, timedelta(days=30), now=NOW)


async def test_prune_leaves_other_namespaces_and_lookalikes(
    settings: Settings, client: AsyncElasticsearch, months: list[str]
) -> None:
    others = [
        f"{settings.prefix}alerts-alerts-2020.01",  # of a namespace that ends in alerts
        f"{settings.prefix}alerts-2020.01-copy",
        f"{settings.prefix}alerts-2020.13",
        f"{settings.prefix}notes-2020.01",
        f"x{settings.prefix}alerts-2020.01",
    ]
    for name in others:
        await client.indices.create(index=name)

    removed = await prune(settings, timedelta(days=0), now=NOW)

    assert set(removed) == {name for name in months if not name.endswith("2026.11")}
    assert await client.indices.exists(index=others)


async def test_prune_without_indices(settings: Settings) -> None:
    assert await prune(settings, timedelta(days=1), now=NOW) == []


async def test_prune_says_which_server_is_away() -> None:
    away = load_settings(elasticsearch="http://127.0.0.1:1")
    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1: it cannot be reached"):
        await prune(away, timedelta(days=1), now=NOW)


# forget

FRAUD = Match("fraud", "e", Severity.CRITICAL, ("A customer reports fraud",), cool_down_ms=0)
CROWD = Match("crowd", "card_lost", Severity.WARNING, ("", " lost cards"), 2, 600_000, 600_000)


def judged(event_id: str, *matches: Match, stream: str = MESSAGES) -> Judged:
    keyed = tuple(replace(m, key=m.key + m.rule) for m in matches)
    return Judged(stream, event_id, NOW, 0.9, "v1", keyed, version())


def label_key(event_id: str, task: str = "message.intent", entity: str = "") -> bytes:
    return labels.label_key(task, event_id, entity, "a@b/c")


async def put_labels(settings: Settings, *records: tuple[bytes, bytes | None]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    for number, (key, value) in enumerate(records):
        await producer.send_and_wait(
            settings.topic("labels"), key=key, value=value, partition=number % 2
        )
    await producer.stop()


async def living_labels(settings: Settings) -> set[bytes]:
    newest = {}
    async for record in read_topic(settings, "labels"):
        newest[record.partition, record.key] = record.value
    return {key for (_, key), value in newest.items() if value is not None}


@pytest.fixture
async def raised(settings: Settings, client: AsyncElasticsearch, redis: Redis) -> list[Alert]:
    """Messages of two customers and the alerts they raised, in every server."""
    await initialise(settings)
    mine = [message(settings, name, "C/1") for name in ("m1", "m 2/ä", "m3")]
    mine.append(message(settings, "m4", "C/1", datetime(2026, 9, 1, tzinfo=UTC)))
    theirs = [message(settings, name, "C/10") for name in ("o1", "o2")]
    store = AlertStore(redis, settings.prefix)
    verdict = await store.judge(
        [
            judged("m1", FRAUD),
            judged("o1", FRAUD, CROWD),
            judged("m3", CROWD),
            judged("o2", CROWD),
            judged("m1", FRAUD, stream="financial-news"),  # an id means nothing without stream
        ],
        NOW,
    )
    alerts = [alert for alerts in verdict.raised for alert in alerts]
    await write(client, [*mine, *theirs, *(alert_document(settings, a) for a in alerts)])
    await put_labels(
        settings,
        (label_key("m1"), b"1"),
        (label_key("m 2/ä", "message.emotion"), b"2"),
        (label_key("m 2/ä", entity="E"), b"3"),
        (label_key("m3"), b"4"),
        (label_key("o1"), b"5"),
        (label_key("m3"), None),
        (label_key("m1", task="news.topic"), b"6"),
        (b"m1", b"no key of ours"),
    )
    return alerts


async def test_forget_removes_a_customer_everywhere(
    settings: Settings, client: AsyncElasticsearch, redis: Redis, raised: list[Alert]
) -> None:
    doomed = {a.id for a in raised if a.event_id in ("m1", "m3") and a.stream == MESSAGES}
    assert doomed

    assert await forget(settings, "C/1") == Forgotten(messages=4, alerts=2, trimmed=0, labels=3)

    assert await ids(client, f"{settings.prefix}{MESSAGES}") == {"o1", "o2"}
    kept = {alert.id for alert in raised} - doomed
    assert await ids(client, f"{settings.prefix}alerts") == kept
    entries: Any = await redis.xrange(f"{settings.prefix}bellwether:alerts")
    assert {Alert.from_json(fields[b"alert"]).id for _, fields in entries} == kept
    assert not [key async for key in redis.scan_iter(f"{settings.prefix}*:{MESSAGES}:m*")]
    assert await living_labels(settings) == {
        label_key("o1"),
        label_key("m1", task="news.topic"),
        b"m1",
    }


async def test_forget_again_finds_nothing(settings: Settings, raised: list[Alert]) -> None:
    assert (await forget(settings, "C/1")).messages == 4
    assert await forget(settings, "C/1") == Forgotten()
    assert await forget(settings, "C/") == Forgotten()


async def test_an_alert_of_others_stays_without_the_ids(
    settings: Settings, client: AsyncElasticsearch, redis: Redis, raised: list[Alert]
) -> None:
    """The crowd's alert was raised by m3, so forgetting C/10 leaves it, without o1."""
    forgotten = await forget(settings, "C/10")

    assert forgotten == Forgotten(messages=2, alerts=1, trimmed=1, labels=1)
    (crowd,) = (alert for alert in raised if alert.rule == "crowd")
    assert set(crowd.event_ids) == {"o1", "m3"}
    found = await client.get(index=index_name(settings.prefix, "alerts", NOW), id=crowd.id)
    assert found["_source"]["event_ids"] == ["m3"]
    active = await AlertStore(redis, settings.prefix).active()
    assert {alert.event_ids for alert in active if alert.rule == "crowd"} == {("m3",)}


def test_what_is_gone_is_said() -> None:
    assert str(Forgotten(messages=2, alerts=1)) == (
        "removed: 2 messages, 1 alert, 0 labels; 0 alerts of others no longer name them"
    )
    assert str(Forgotten(trimmed=1)).endswith("; 1 alert of others no longer names them")


async def test_an_interrupted_forget_is_completed_by_the_next(
    settings: Settings, client: AsyncElasticsearch, raised: list[Alert]
) -> None:
    index = index_name(settings.prefix, MESSAGES, NOW)
    await client.indices.put_settings(index=index, settings={"index.blocks.write": True})
    with pytest.raises(BellwetherError, match="did not change or remove 3 documents"):
        await forget(settings, "C/1")
    await client.indices.put_settings(index=index, settings={"index.blocks.write": False})

    assert await forget(settings, "C/1") == Forgotten(messages=3)
    assert await ids(client, f"{settings.prefix}{MESSAGES}") == {"o1", "o2"}


async def test_forget_goes_through_many_pages(
    settings: Settings, client: AsyncElasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_PAGE", 7)
    await initialise(settings)
    october = datetime(2026, 10, 1, tzinfo=UTC)
    # One id in two months, at the edge of a page: it must not be passed over.
    times = [(f"m{number:03}", at) for number in range(40) for at in (NOW, october)]
    await write(client, [message(settings, name, "C", at) for name, at in times])

    assert (await forget(settings, "C")).messages == 40
    assert await ids(client, f"{settings.prefix}{MESSAGES}") == set()


async def test_forget_where_nothing_was_written_yet(settings: Settings) -> None:
    assert await forget(settings, "anybody") == Forgotten()
