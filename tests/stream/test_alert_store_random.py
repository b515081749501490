"""The alert store against a plain model of it, with redeliveries, kills and neighbours."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.servers import Redis as RedisServer
from schemas.alerts import Alert, Status, fingerprint
from stream.alert_store import AlertStore
from stream.alerts import Judged, Match, Verdict
from tests.servers import Servers
from tests.stream.alert_events import DAY_SECONDS, entries, event, judge, match, version
from tests.stream.alert_model import AlertModel, ModelAlert, ms_of

RULES = (
    match("each", "", reason="{count}"),
    match("calm", "A", cool_down=20),
    match("burst", "A", count=3, window=10, cool_down=15),
    match("burst", "B", count=3, window=10, cool_down=15),
    match("flood", "A", count=2, window=30),
    match("story", "B", count=4, window=20, cool_down=60),
)
SECONDS = st.one_of(
    st.integers(0, 60_000).map(lambda ms: ms / 1000),
    st.integers(0, 30),
    st.sampled_from([-2.0 * DAY_SECONDS, 0.9 * DAY_SECONDS]),
)


@st.composite
def judged_events(draw: st.DrawFn) -> list[Judged]:
    """Events, some in several versions, of which two may have the same content."""
    matched = st.sets(st.sampled_from(RULES))
    versions = st.lists(
        st.tuples(matched, st.sampled_from("abc"), st.sampled_from([False, False, False, True])),
        min_size=1,
        max_size=3,
    )
    drawn = draw(st.lists(st.tuples(SECONDS, versions), min_size=1, max_size=20))
    return [
        replace(
            event(f"e{i}", seconds, *(named(rule, f"e{i}") for rule in RULES if rule in rules)),
            version=version(content, offset),
            old=old,
        )
        for i, (seconds, given) in enumerate(drawn)
        for offset, (rules, content, old) in enumerate(given)
    ]


def named(rule: Match, event_id: str) -> Match:
    """A rule without a key is keyed by the event."""
    return rule if rule.key else match(rule.rule, event_id, reason="{count}".join(rule.reason))


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[list[Judged], float]]:
    """Batches with the time of their call; every event comes once at least, some more often."""
    events = draw(judged_events())
    extra = draw(st.lists(st.sampled_from(events), max_size=30))
    order = draw(st.permutations([*events, *extra]))
    cuts = sorted(draw(st.sets(st.integers(0, len(order)), max_size=6)) | {0, len(order)})
    batches = [order[first:last] for first, last in pairwise(cuts)]
    clock = sorted(draw(st.lists(st.integers(0, 3000), min_size=7, max_size=7)))
    return list(zip(batches, clock, strict=False))


def identity_of(alert: Alert) -> tuple[str, str, str, int]:
    return (alert.rule, alert.key, alert.event_id, alert.raised_again or 0)


def same(alert: Alert, expected: ModelAlert) -> bool:
    ids = tuple(event_id for _, event_id in expected.events)
    identity = identity_of(alert)
    return (identity, alert.count, alert.event_ids) == (expected.identity, expected.count, ids)


def agree(raised: Sequence[Alert], expected: Sequence[ModelAlert]) -> bool:
    return len(raised) == len(expected) and all(map(same, raised, expected))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(deliveries())
async def test_the_script_says_what_the_model_says(
    redis: Redis, batches: list[tuple[list[Judged], float]]
) -> None:
    prefix = f"{uuid4().hex}-"
    store, model = AlertStore(redis, prefix), AlertModel()
    for batch, seconds in batches:
        verdict = await judge(store, *batch, after=seconds)
        expected = model.judge(batch, ms_of(event("now", seconds)))
        assert all(map(agree, verdict.raised, expected))
    active = sorted(await store.active(), key=lambda alert: alert.fingerprint)
    assert agree(active, sorted(model.active.values(), key=lambda a: fingerprint(a.rule, a.key)))
    said = [
        (str(entry.alert.status), identity_of(entry.alert))
        for entry in await entries(redis, prefix)
    ]
    assert Counter(said) == Counter(model.stream)


async def test_kills_of_redis_change_no_outcome(own_redis: RedisServer) -> None:
    generator = random.Random(7)
    events = [
        event(f"e{i}", i / 5, *(named(r, f"e{i}") for r in RULES if generator.random() < 0.5))
        for i in range(400)
    ]
    batches = [events[first : first + 20] for first in range(0, len(events), 20)]
    model = AlertModel()
    expected = {
        judged.event_id: alerts
        for batch in batches
        for judged, alerts in zip(batch, model.judge(batch, ms_of(event("start"))), strict=True)
    }
    client = Redis.from_url(own_redis.address, socket_timeout=2)
    store = AlertStore(client, "")
    killer = asyncio.create_task(keep_killing(own_redis, kills=4))
    for number, batch in enumerate(batches):
        again = events[max(0, 20 * number - 30) : 20 * number]
        verdict = await patiently(store, [*again, *batch])
        for judged, alerts in zip([*again, *batch], verdict.raised, strict=True):
            assert agree(alerts, expected[judged.event_id])
        await asyncio.sleep(0.15)
    await killer
    verdict = await patiently(store, events)
    assert verdict.fresh == ()
    fired = [e.alert.id for e in await entries(client, "") if e.alert.status is Status.FIRING]
    assert sorted(fired) == sorted(alert.id for alerts in verdict.raised for alert in alerts)
    assert len(fired) == len(set(fired)) > 200
    await client.aclose()


async def keep_killing(server: RedisServer, kills: int) -> None:
    for _ in range(kills):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(server.kill)
        server.start()
        await asyncio.to_thread(server.wait_ready)


async def patiently(store: AlertStore, events: list[Judged]) -> Verdict:
    while True:
        try:
            return await judge(store, *events)
        except (RedisError, OSError):
            await asyncio.sleep(0.05)


async def test_two_workers_raise_each_alert_once(servers: Servers, namespace: str) -> None:
    events = [event(f"e{i}", i / 10, *(named(rule, f"e{i}") for rule in RULES)) for i in range(300)]
    clients = [Redis.from_url(servers.redis.address) for _ in range(2)]

    async def work(client: Redis, seed: int) -> list[Alert]:
        """Both get all the events, each in batches and an order of its own."""
        order = random.Random(seed).sample(events, len(events))
        fresh: list[Alert] = []
        while order:
            batch, order = order[:17], order[17:]
            fresh += (await judge(AlertStore(client, f"{namespace}-"), *batch)).fresh
        return fresh

    fresh = [a for part in await asyncio.gather(*map(work, clients, (1, 2))) for a in part]
    assert len({alert.id for alert in fresh}) == len(fresh)
    store = AlertStore(clients[0], f"{namespace}-")
    stored = [alert for alerts in (await judge(store, *events)).raised for alert in alerts]
    assert {alert.id: alert for alert in stored} == {alert.id: alert for alert in fresh}
    assert len([alert for alert in stored if alert.rule == "each"]) == 300
    for client in clients:
        await client.aclose()
