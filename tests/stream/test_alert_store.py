import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.servers import Redis as RedisServer
from schemas.alerts import Alert, Severity, Status, alert_id, fingerprint
from stream.alert_store import REMEMBER_SECONDS, AlertStore
from stream.alerts import Judged, Verdict
from tests.stream.alert_events import (
    DAY_SECONDS,
    NEWS,
    START,
    burst,
    entries,
    event,
    judge,
    match,
    version,
)


@pytest.fixture
def store(redis: Redis, namespace: str) -> AlertStore:
    return AlertStore(redis, f"{namespace}-")


def counts(verdict: Verdict) -> list[list[int]]:
    return [[alert.count for alert in raised] for raised in verdict.raised]


async def test_an_alert_says_what_raised_it(store: AlertStore) -> None:
    verdict = await judge(store, event("e1", 0, match("rule", "ACME", reason="why")), after=3)
    alert = Alert(
        id=alert_id("rule", "ACME", NEWS, "e1"),
        fingerprint=fingerprint("rule", "ACME"),
        rule="rule",
        severity=Severity.WARNING,
        status=Status.FIRING,
        stream=NEWS,
        event_id="e1",
        event_ids=("e1",),
        key="ACME",
        reason="why",
        risk=0.123456789012345,
        count=1,
        event_time=START,
        raised_at=START + timedelta(seconds=3),
        model_version="model-1",
    )
    assert verdict == Verdict(raised=((alert,),), fresh=(alert,), resolved=())
    assert await store.active() == [alert]


async def test_odd_texts_come_back_as_they_were(store: AlertStore) -> None:
    odd = 'é/"\\\x00\x7f\u2028{}[]😀%d%1'
    verdict = await judge(store, event(odd, 0, match(key=odd, reason=odd)))
    (alert,) = verdict.fresh
    assert (alert.key, alert.reason, alert.event_id, alert.event_ids) == (odd, odd, odd, (odd,))
    assert (await judge(store, event(odd))).raised == ((alert,),)


async def test_an_event_without_a_match_leaves_nothing(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    verdict = await judge(store, event("e1"), event("e2"))
    assert verdict == Verdict(raised=((), ()), fresh=(), resolved=())
    assert await redis.keys(f"{namespace}*") == []


async def test_an_empty_batch_is_judged(store: AlertStore) -> None:
    assert await judge(store) == Verdict((), (), ())


async def test_a_redelivery_changes_nothing_and_gets_the_stored_answer(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    first = await judge(store, event("e1", 0, match(key="a"), match(key="b")))
    again = await judge(store, event("e1", 0, match("other", "c")), after=9)
    unmatched = await judge(store, event("e1"), after=10)
    assert again.raised == unmatched.raised == first.raised
    assert again.fresh == unmatched.fresh == ()
    assert len(await entries(redis, f"{namespace}-")) == 2


async def test_an_outcome_without_an_alert_is_remembered_too(store: AlertStore) -> None:
    await judge(store, burst("e1", 0))
    again = await judge(store, event("e1", 0, match()))
    assert again.raised == ((),)


async def test_the_same_id_in_the_other_stream_is_another_event(store: AlertStore) -> None:
    message = Judged("customer-messages", "e1", START, 0.5, "v", (match(key="m"),), version())
    verdict = await judge(store, event("e1", 0, match(key="n")), message)
    assert [alert.key for alert in verdict.fresh] == ["n", "m"]


async def test_duplicates_within_a_batch_count_once(store: AlertStore) -> None:
    one = burst("e1", 0)
    verdict = await judge(store, one, one, one, burst("e2", 1), burst("e2", 1))
    assert counts(verdict) == [[], [], [], [], []]
    verdict = await judge(store, burst("e3", 2), burst("e3", 2))
    assert counts(verdict) == [[3], [3]]
    assert len(verdict.fresh) == 1


async def test_one_match_twice_is_one_alert(store: AlertStore) -> None:
    assert len((await judge(store, event("e1", 0, match(), match()))).fresh) == 1


async def test_a_window_is_open_at_its_start_and_closed_at_its_end(store: AlertStore) -> None:
    assert counts(await judge(store, burst("a", 0), burst("b", 1), burst("c", 60))) == [[], [], []]
    assert counts(await judge(store, burst("d", 60.999))) == [[3]]


async def test_a_full_window_says_count_reason_and_events(store: AlertStore) -> None:
    (alert,) = (await judge(store, *(burst(f"e{i}", i) for i in range(3)))).fresh
    assert (alert.event_id, alert.event_ids) == ("e2", ("e0", "e1", "e2"))
    assert (alert.count, alert.reason) == (3, "3 times")


async def test_keys_are_counted_apart(store: AlertStore) -> None:
    keys = ["a", "b", "a", "b", "a"]
    events = [
        event(f"e{i}", i, match("burst", key, count=3, window=60)) for i, key in enumerate(keys)
    ]
    assert [alert.key for alert in (await judge(store, *events)).fresh] == ["a"]


async def test_a_late_event_counts_in_its_own_window(store: AlertStore) -> None:
    await judge(store, burst("a", 0), burst("b", 1), burst("late-no-more", 500))
    assert counts(await judge(store, burst("c", 2))) == [[3]]


async def test_a_late_event_completes_the_window_of_a_later_one(store: AlertStore) -> None:
    await judge(store, burst("a", 0), burst("c", 50))
    (alert,) = (await judge(store, burst("b", 20))).fresh
    assert (alert.event_id, alert.event_ids) == ("b", ("a", "b", "c"))
    assert alert.event_time == START + timedelta(seconds=20)


async def test_a_burst_alerts_in_whatever_order_it_arrives(redis: Redis) -> None:
    events = [burst(f"e{i}", 19 * i) for i in range(3)]
    for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        store = AlertStore(redis, f"{uuid4().hex}-")
        verdicts = [await judge(store, events[i]) for i in order]
        assert [len(verdict.fresh) for verdict in verdicts] == [0, 0, 1]


async def test_an_event_a_day_and_a_window_late_is_not_counted(store: AlertStore) -> None:
    await judge(store, burst("new", 0))
    late = [burst(f"e{i}", -DAY_SECONDS - 60.001 - i) for i in range(4)]
    assert counts(await judge(store, *late)) == [[], [], [], []]


async def test_a_cool_down_swallows_matches_before_and_after(store: AlertStore) -> None:
    def calm(event_id: str, seconds: float) -> Judged:
        return event(event_id, seconds, match("calm", cool_down=30))

    assert len((await judge(store, calm("a", 100))).fresh) == 1
    assert not (await judge(store, calm("b", 129.999), calm("c", 70.001))).fresh
    assert len((await judge(store, calm("d", 130))).fresh) == 1
    assert len((await judge(store, calm("e", 70))).fresh) == 1


async def test_a_swallowed_match_joins_the_active_alert(store: AlertStore) -> None:
    def calm(event_id: str, seconds: float) -> Judged:
        return event(event_id, seconds, match("calm", cool_down=300, reason="{count} so far"))

    first = await judge(store, calm("b", 10))
    await judge(store, calm("c", 20), calm("a", 0))
    (active,) = await store.active()
    assert (active.count, active.event_ids) == (3, ("a", "b", "c"))
    assert (active.event_id, active.reason) == ("b", "1 so far")
    assert (await judge(store, calm("b", 10))).raised == first.raised
    await judge(store, *(calm(f"m{i}", 30 + i) for i in range(40)))
    (active,) = await store.active()
    assert (active.count, active.event_ids) == (43, tuple(f"m{i}" for i in range(20, 40)))


async def test_a_burst_that_goes_on_joins_its_alert(store: AlertStore) -> None:
    await judge(store, *(burst(f"e{i}", i * 29) for i in range(7)))
    (active,) = await store.active()
    assert (active.event_id, active.count, active.reason) == ("e2", 7, "3 times")
    assert active.event_ids == tuple(f"e{i}" for i in range(7))


async def test_a_cool_down_outlives_the_resolution_of_its_alert(store: AlertStore) -> None:
    def old(event_id: str, seconds: float) -> Judged:
        return event(event_id, seconds - 7200, match("calm", cool_down=3600))

    verdict = await judge(store, old("a", 0))
    assert [alert.event_id for alert in verdict.fresh] == ["a"]
    assert [alert.event_id for alert in verdict.resolved] == ["a"]
    assert not (await judge(store, old("b", 60))).fresh
    assert await store.active() == []


async def test_an_alert_is_resolved_when_it_is_over(store: AlertStore, redis: Redis) -> None:
    (raised,) = (await judge(store, event("e1", 0, match()))).fresh
    assert not (await judge(store, after=600)).resolved
    (resolved,) = (await judge(store, after=600.001)).resolved
    assert resolved == raised.model_copy(update={"status": Status.RESOLVED})
    assert await store.active() == []


async def test_an_alert_lasts_as_long_as_its_cool_down_and_its_window(store: AlertStore) -> None:
    events = [burst(f"e{i}", i, window=900, cool_down=1200) for i in range(3)]
    await judge(store, *events)
    assert not (await judge(store, after=1202)).resolved
    assert len((await judge(store, after=1202.001)).resolved) == 1


async def test_a_swallowed_match_keeps_its_alert_active(store: AlertStore) -> None:
    for seconds in (0, 500):
        await judge(store, event(f"e{seconds}", seconds, match(cool_down=600)))
    assert not (await judge(store, after=1100)).resolved
    assert len((await judge(store, after=1100.001)).resolved) == 1


async def test_an_alert_that_somebody_deleted_stops_nothing(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    await judge(store, event("e1", 0, match()))
    await redis.delete(f"{namespace}-bellwether:alerts:state")
    assert (await judge(store, after=700)).resolved == ()
    assert await store.active() == []


async def test_a_resolution_is_offered_until_it_is_settled(store: AlertStore) -> None:
    await judge(store, event("e1", 0, match()))
    for _ in range(2):
        (resolved,) = (await judge(store, after=700)).resolved
    await store.settled([resolved])
    await store.settled([])
    assert (await judge(store, after=700)).resolved == ()


async def test_a_redelivered_event_does_not_raise_its_resolved_alert_again(
    store: AlertStore,
) -> None:
    first = await judge(store, event("e1", 0, match()))
    await judge(store, after=700)
    again = await judge(store, event("e1", 0, match()), after=701)
    assert again.raised == first.raised
    assert again.fresh == ()
    assert await store.active() == []


async def test_a_new_alert_takes_the_place_of_the_active_one(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    for event_id, seconds in [("a", 10), ("b", 20), ("late", 15)]:
        verdict = await judge(store, event(event_id, seconds, match()))
        assert [alert.event_id for alert in verdict.fresh] == [event_id]
    assert [alert.event_id for alert in await store.active()] == ["b"]
    changes = [
        (entry.alert.event_id, entry.alert.status.value)
        for entry in await entries(redis, f"{namespace}-")
    ]
    assert changes == [
        ("a", "firing"),
        ("b", "firing"),
        ("a", "resolved"),
        ("late", "firing"),
        ("late", "resolved"),
    ]


async def test_every_key_that_can_grow_is_bounded_in_time(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    await judge(store, *(burst(f"e{i}", i) for i in range(3)), event("e9", 0, match()))
    await judge(store, after=7200)
    keys: list[Any] = await redis.keys(f"{namespace}*")
    lives = {key.decode(): await redis.ttl(key) for key in keys}
    names = {
        name.removeprefix(f"{namespace}-bellwether:") for name, ttl in lives.items() if ttl < 0
    }
    assert names == {"alerts", "alerts:resolving"}
    kept = [ttl for name, ttl in lives.items() if ":outcome:" in name]
    assert len(kept) == 4
    assert len([name for name in lives if ":version:" in name]) == 4
    assert all(REMEMBER_SECONDS - 60 < ttl <= REMEMBER_SECONDS for ttl in kept)


def test_outcomes_are_remembered_for_a_week_at_least(redis: Redis) -> None:
    with pytest.raises(ValueError, match="remember_seconds"):
        AlertStore(redis, "", remember_seconds=DAY_SECONDS)


async def test_a_large_batch_is_one_call(store: AlertStore, redis: Redis) -> None:
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    verdict = await judge(store, *(event(f"e{i}", i, match(key=f"k{i}")) for i in range(2_500)))
    assert len(verdict.fresh) == 2_500
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == before + 1


async def test_a_full_redis_refuses_a_batch_as_a_whole(own_redis: RedisServer) -> None:
    client = Redis.from_url(own_redis.address)
    store = AlertStore(client, "")
    await judge(store, event("e0", 0, match("story", count=2, window=60)))
    before = await client.keys("*")
    await client.config_set("maxmemory", 1)
    with pytest.raises(RedisError, match="maxmemory"):
        await judge(store, event("e1", 1, match(), match("story", count=2, window=60)))
    assert await client.keys("*") == before
    await client.config_set("maxmemory", 0)
    verdict = await judge(store, event("e1", 1, match(), match("story", count=2, window=60)))
    assert counts(verdict) == [[1, 2]]
    await client.aclose()


async def test_namespaces_do_not_see_each_other(redis: Redis, namespace: str) -> None:
    stores = [AlertStore(redis, f"{namespace}-{name}-") for name in ("a", "b")]
    for store in stores:
        assert len((await judge(store, event("e1", 0, match()))).fresh) == 1


# ---- Watching and forgetting ---------------------------------------------------------------------


async def test_watching_shows_what_comes_after(store: AlertStore) -> None:
    await judge(store, event("before", 0, match(key="a")))
    new, everything = store.watch(), store.watch("0")
    first = asyncio.ensure_future(anext(new))
    await asyncio.sleep(0.2)
    await judge(store, event("after", 1, match(key="b")))
    entry = await asyncio.wait_for(first, 5)
    assert entry.alert.event_id == "after"
    seen = [await anext(everything) for _ in range(2)]
    assert [each.alert.event_id for each in seen] == ["before", "after"]
    again = store.watch(seen[0].entry_id)
    assert await anext(again) == entry


async def test_watching_survives_a_kill_of_redis(own_redis: RedisServer, namespace: str) -> None:
    client = Redis.from_url(own_redis.address)
    store = AlertStore(client, f"{namespace}-")
    await judge(store, event("e1", 0, match()))
    watch = store.watch("0")
    assert (await anext(watch)).alert.event_id == "e1"
    second = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(own_redis.kill)
    await asyncio.sleep(0.3)
    own_redis.start()
    await asyncio.to_thread(own_redis.wait_ready)
    await judge(store, event("e2", 0, match(key="other")))
    assert (await asyncio.wait_for(second, 20)).alert.event_id == "e2"
    await client.aclose()


async def test_watching_raises_when_redis_stays_away(own_redis: RedisServer) -> None:
    client = Redis.from_url(own_redis.address)
    await asyncio.to_thread(own_redis.kill)
    with pytest.raises(RedisError):
        await anext(AlertStore(client, "").watch())
    with pytest.raises(RedisError):
        await anext(AlertStore(client, "").watch("0", outage_seconds=0.2))
    await client.aclose()


async def test_forgetting_removes_every_trace_of_an_event(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    await judge(store, event("gone", 0, match()), event("kept", 0, match(key="other")))
    await judge(store, burst("b1", 0), burst("gone-too", 1), burst("b2", 2))
    await judge(store, event("over-and-gone", -9000, match(key="old")))
    gone = ["gone", "gone-too", "over-and-gone", "unknown"]
    assert await store.forget(NEWS, gone) == 2
    assert await store.forget("customer-messages", ["kept"]) == 0

    active = {alert.event_id: alert.event_ids for alert in await store.active()}
    assert active == {"kept": ("kept",), "b2": ("b1", "b2")}
    assert (await judge(store)).resolved == ()
    said = {entry.alert.event_id for entry in await entries(redis, f"{namespace}-")}
    assert said == {"kept", "b2"}
    for key in await redis.keys(f"{namespace}*"):
        assert b"gone" not in key
        if b":window:" in key:
            assert b"gone-too" not in await redis.zrange(key, 0, -1)


async def test_what_was_forgotten_may_come_again(store: AlertStore) -> None:
    await judge(store, event("e1", 0, match()))
    await store.forget(NEWS, ["e1"])
    assert len((await judge(store, event("e1", 0, match()))).fresh) == 1
