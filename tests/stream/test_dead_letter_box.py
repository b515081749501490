from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from schemas.dead_letters import DeadLetter
from schemas.errors import BellwetherError, Reason, ServerUnavailable
from stream import dead_letter_box
from stream.dead_letter_box import (
    Identity,
    Wanted,
    list_letters,
    parse_identity,
    replay_letters,
    written,
)
from stream.settings import Settings, load_settings
from tests.servers import Servers
from tests.stream.kafka_records import create_topics, put_letters, records

START = datetime(2026, 11, 22, 6, tzinfo=UTC)
NEWS = "financial-news"
ALL = Wanted()


@pytest.fixture
async def settings(servers: Servers, namespace: str) -> Settings:
    found = load_settings(
        kafka=servers.kafka.address, redis=servers.redis.address, namespace=namespace
    )
    await create_topics(found, "dead-letters", NEWS, "customer-messages")
    return found


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    client = Redis.from_url(settings.redis.get_secret_value(), decode_responses=True)
    yield client
    await client.aclose()


def letter(settings: Settings, offset: int, topic: str = NEWS, **changes: object) -> DeadLetter:
    """One that failed `offset` minutes after START."""
    made = DeadLetter(
        value=f"value {offset}".encode(),
        key=f"key {offset}".encode(),
        topic=settings.topic(topic),
        partition=0,
        offset=offset,
        reason=Reason.INVALID,
        message="headline: missing",
        failed_at=START + timedelta(minutes=offset),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def offsets(letters: list[DeadLetter]) -> list[int]:
    return [letter.offset for letter in letters]


async def test_an_empty_box(settings: Settings) -> None:
    listing = await list_letters(settings, ALL, 10)
    assert (listing.letters, listing.total, listing.foreign) == ([], 0, 0)


async def test_letters_come_newest_first_and_copies_count_once(settings: Settings) -> None:
    letters = [letter(settings, n) for n in range(20)]
    copies = [replace(one, failed_at=one.failed_at + timedelta(seconds=1)) for one in letters[:5]]
    await put_letters(settings, [*letters, *copies, *letters[10:]])
    listing = await list_letters(settings, ALL, 4)
    assert offsets(listing.letters) == [19, 18, 17, 16]
    assert listing.by_reason == Counter({Reason.INVALID: 20})
    assert [one.value for one in listing.letters] == [None] * 4
    everything = await list_letters(settings, ALL, 100, keep_values=True)
    assert offsets(everything.letters) == list(reversed(range(20)))
    assert everything.letters[-1].value == b"value 0"
    assert everything.letters[-1].failed_at == START + timedelta(seconds=1)


async def test_a_letter_that_fails_again_is_as_new_as_its_last_failure(settings: Settings) -> None:
    letters = [letter(settings, n) for n in range(5)]
    late = replace(letters[0], failed_at=START + timedelta(days=1))
    await put_letters(settings, [*letters, late])
    assert offsets((await list_letters(settings, ALL, 2)).letters) == [0, 4]


async def test_which_letters_are_wanted(settings: Settings) -> None:
    await put_letters(
        settings,
        [
            letter(settings, 1),
            letter(settings, 2, reason=Reason.TOO_LARGE),
            letter(settings, 3, topic="customer-messages"),
        ],
    )
    for wanted, expected in (
        (Wanted(reasons={Reason.TOO_LARGE}), [2]),
        (Wanted(reasons={Reason.TOO_LARGE, Reason.INVALID}), [3, 2, 1]),
        (Wanted(since=START + timedelta(minutes=2)), [3, 2]),
        (Wanted(until=START + timedelta(minutes=2)), [1]),
        (Wanted(topic="customer-messages"), [3]),
        (Wanted(topic=settings.topic(NEWS)), [2, 1]),
        (Wanted(identities={(settings.topic(NEWS), 0, 2)}), [2]),
        (Wanted(reasons={Reason.INVALID}, topic=NEWS), [1]),
    ):
        assert offsets((await list_letters(settings, wanted, 10)).letters) == expected


async def test_what_is_no_dead_letter_is_counted_and_passed_over(settings: Settings) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        await producer.send_and_wait(settings.topic("dead-letters"), b"stray")
    await put_letters(settings, [letter(settings, 1)])
    listing = await list_letters(settings, ALL, 10)
    assert (offsets(listing.letters), listing.foreign) == ([1], 1)
    assert len((await replay_letters(settings, ALL)).sent) == 1


async def test_a_replay_sends_each_letter_once_as_it_was(settings: Settings, redis: Redis) -> None:
    letters = [
        letter(settings, 1),
        letter(settings, 2, topic="customer-messages", value=b"\xff\x00"),
        letter(settings, 3, key=None),
        letter(settings, 4, value=None),
        letter(settings, 5, key=None, value=None),
        letter(settings, 6, value=b""),
    ]
    await put_letters(settings, [*letters, *letters])
    outcome = await replay_letters(settings, ALL)
    assert sorted(outcome.sent) == sorted(one.identity for one in letters)
    again = await replay_letters(settings, ALL)
    assert (again.sent, len(again.remembered)) == ([], 6)
    news = [(one.key, one.value) for one in await records(settings, NEWS)]
    assert sorted(news, key=str) == sorted(
        ((one.key, one.value) for one in letters if one.topic == settings.topic(NEWS)), key=str
    )
    (message,) = await records(settings, "customer-messages")
    assert (message.key, message.value) == (b"key 2", b"\xff\x00")
    remembered = f"{settings.prefix}bellwether:dead-letters:replayed"
    assert await redis.scard(remembered) == 6
    assert await redis.ttl(remembered) > 30 * 24 * 3600


async def test_again_sends_what_was_sent_before(settings: Settings) -> None:
    await put_letters(settings, [letter(settings, 1)])
    await replay_letters(settings, ALL)
    outcome = await replay_letters(settings, ALL, again=True)
    assert (len(outcome.sent), outcome.remembered) == (1, [])
    assert len(await records(settings, NEWS)) == 2


async def test_a_dry_run_sends_and_remembers_nothing(settings: Settings, redis: Redis) -> None:
    await put_letters(settings, [letter(settings, 1)])
    outcome = await replay_letters(settings, ALL, dry_run=True)
    assert len(outcome.sent) == 1
    assert await records(settings, NEWS) == []
    assert await redis.keys(f"{settings.prefix}*") == []


async def test_what_cannot_be_sent_is_refused_with_a_reason(settings: Settings) -> None:
    cut = letter(settings, 1, truncated_from=5_000_000)
    lost = letter(settings, 2, topic="gone")
    large = letter(settings, 3, value=b"x" * (4 << 20))
    await put_letters(settings, [cut, lost, large, letter(settings, 4)])
    outcome = await replay_letters(settings, ALL)
    assert [offset for _, _, offset in outcome.sent] == [4]
    assert outcome.refused == {
        cut.identity: "only a part of its 5,000,000 bytes was kept",
        lost.identity: "its topic is gone",
        large.identity: "it is larger than its topic takes",
    }


async def test_many_letters_go_in_batches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_box, "BATCH_LETTERS", 7)
    await put_letters(settings, [letter(settings, n) for n in range(100, 130)])
    wanted = Wanted(since=START + timedelta(minutes=105))
    outcome = await replay_letters(settings, wanted)
    assert len(outcome.sent) == 25
    arrived = await records(settings, NEWS)
    assert {one.key for one in arrived} == {f"key {n}".encode() for n in range(105, 130)}


async def test_one_that_fails_again_is_not_sent_beside_the_first(settings: Settings) -> None:
    await put_letters(settings, [letter(settings, 100)])
    assert offsets_of((await replay_letters(settings, ALL)).sent) == [100]
    (arrived,) = await records(settings, NEWS)
    at = {"partition": arrived.partition, "failed_at": START + timedelta(hours=3)}
    await put_letters(settings, [letter(settings, arrived.offset, **at)])
    again = await replay_letters(settings, ALL)
    assert again.sent == []
    assert sorted(offsets_of(again.remembered)) == [arrived.offset, 100]
    assert offsets_of((await replay_letters(settings, ALL, again=True)).sent) == [100]


def offsets_of(identities: list[Identity]) -> list[int]:
    return [offset for _, _, offset in identities]


async def test_without_redis_nothing_is_sent(settings: Settings) -> None:
    await put_letters(settings, [letter(settings, 1)])
    away = settings.model_copy(update={"redis": load_settings(redis="redis://:pw@[::1]:1/0").redis})
    with pytest.raises(
        ServerUnavailable, match=r"Redis at \[::1\]:1/0 does not serve us"
    ) as caught:
        await replay_letters(away, ALL)
    assert "pw" not in str(caught.value)
    assert await records(settings, NEWS) == []


async def test_without_the_topic_the_way_to_it_is_said(servers: Servers, namespace: str) -> None:
    settings = load_settings(kafka=servers.kafka.address, namespace=f"{namespace}-x")
    with pytest.raises(BellwetherError, match="run `bellwether init`"):
        await list_letters(settings, ALL, 10)


def test_identities_are_written_and_read() -> None:
    assert parse_identity(written(("ns-financial-news", 3, 17))) == ("ns-financial-news", 3, 17)
    for text in ("", "topic", "topic/1", "topic/x/1", "a/1/2/3"):
        with pytest.raises(ValueError, match=r".+"):
            parse_identity(text)
