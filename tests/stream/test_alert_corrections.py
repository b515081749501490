"""A record that comes again under its id with other content: what becomes of its alerts."""

from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from schemas.alerts import Alert, Cause, Status
from schemas.origins import Origin
from stream.alert_store import AlertStore
from stream.alerts import Judged, Match, RecordVersion
from stream.display import alert_line
from tests.stream.alert_events import NEWS, START, corrected, entries, event, judge, match, version

GRAVE = match("grave", "e", reason="grave news")
CALM = match("calm", "ACME", cool_down=600)
BURST = match("burst", "ACME", count=3, window=60, cool_down=120)


@pytest.fixture
def store(redis: Redis, namespace: str) -> AlertStore:
    return AlertStore(redis, f"{namespace}-")


async def said(redis: Redis, namespace: str) -> list[tuple[str, str]]:
    """Who raised it and its status, of each change."""
    found = await entries(redis, f"{namespace}-")
    return [(entry.alert.event_id, entry.alert.status.value) for entry in found]


async def active(store: AlertStore) -> dict[str, tuple[str, ...]]:
    """Who raised them, and the events behind."""
    return {alert.event_id: alert.event_ids for alert in await store.active()}


async def test_corrected_into_something_grave_it_alerts(store: AlertStore) -> None:
    """Also where the first version matched in a window, and raised nothing."""
    assert not (await judge(store, event("e", 0, BURST))).fresh
    (alert,) = (await judge(store, corrected("e", 0, BURST, GRAVE))).fresh
    assert (alert.rule, alert.event_ids) == ("grave", ("e",))


async def test_what_never_matched_alerts_when_it_does(store: AlertStore) -> None:
    assert not (await judge(store, event("e"))).fresh
    verdict = await judge(store, corrected("e", 0, GRAVE))
    assert len(verdict.fresh) == 1
    again = await judge(store, event("e"), corrected("e", 0, GRAVE))
    assert (again.fresh, set(again.raised)) == ((), {verdict.fresh})
    assert len(await store.active()) == 1


async def test_corrected_into_something_harmless_it_is_resolved_with_the_reason(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    (raised,) = (await judge(store, event("e", 0, GRAVE))).fresh
    verdict = await judge(store, corrected("e", 0))
    resolved = raised.model_copy(
        update={"status": Status.RESOLVED, "resolved_because": Cause.CORRECTED}
    )
    assert (verdict.fresh, verdict.resolved) == ((), (resolved,))
    assert verdict.raised == ((raised,),)  # so that its document can always be written
    assert await store.active() == []
    assert [entry.alert for entry in await entries(redis, f"{namespace}-")] == [raised, resolved]
    assert alert_line(resolved).plain.endswith("resolved grave news (grave, e, corrected)")


async def test_the_same_content_again_changes_nothing(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    """Sent once more, at a later offset, and judged by another model."""
    first = await judge(store, event("e", 0, GRAVE))
    for matches in ((), (GRAVE, CALM)):
        sent_again = replace(event("e", 0, *matches), version=version(offset=7))
        again = await judge(store, sent_again, after=9)
        assert (again.raised, again.fresh, again.resolved) == (first.raised, (), ())
    assert await said(redis, namespace) == [("e", "firing")]


async def test_grave_in_other_words_it_stays_one_alert(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    (raised,) = (await judge(store, event("e", 0, GRAVE))).fresh
    reworded = match("grave", "e", reason="in other words")
    verdict = await judge(store, corrected("e", 0, reworded, CALM))
    assert [alert.rule for alert in verdict.fresh] == ["calm"]
    assert verdict.raised == ((raised, *verdict.fresh),)
    assert await said(redis, namespace) == [("e", "firing")] * 2


async def test_grave_once_more_the_same_alert_is_raised_again(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    (first,) = (await judge(store, event("e", 0, GRAVE))).fresh
    await judge(store, corrected("e", 0))
    (again,) = (await judge(store, corrected("e", 0, GRAVE, offset=2), after=5)).fresh
    assert (again.id, again.raised_again) == (first.id, 1)
    assert again.raised_at == START + timedelta(seconds=5)
    assert await store.active() == [again]
    third = await judge(store, corrected("e", 0, offset=3))
    assert [(a.raised_again, a.resolved_because) for a in third.resolved] == [(1, "corrected")]
    assert third.raised == ((again,),)
    assert len(await said(redis, namespace)) == 4


async def test_of_a_resolution_that_is_overtaken_the_newer_is_offered(store: AlertStore) -> None:
    await judge(store, event("e", 0, GRAVE))
    (early,) = (await judge(store, corrected("e", 0))).resolved
    await judge(store, corrected("e", 0, GRAVE, offset=2))
    (late,) = (await judge(store, corrected("e", 0, offset=3))).resolved
    await store.settled([early])
    assert (await judge(store)).resolved == (late,)
    await store.settled([late])
    assert (await judge(store)).resolved == ()


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (Origin("news", 0, 7), Origin("news", 0, 8)),
        (Origin("news", 1, 900, START), Origin("news", 0, 3, START + timedelta(seconds=1))),
        (Origin("news", 0, 3, START), Origin("wire", 0, 9, START)),
    ],
)
async def test_an_older_version_that_comes_late_changes_nothing(
    store: AlertStore, redis: Redis, namespace: str, older: Origin, newer: Origin
) -> None:
    grave = replace(event("e", 0, GRAVE), version=RecordVersion("grave", older))
    harmless = replace(event("e", 0), version=RecordVersion("harmless", newer))
    calm = replace(event("o", 0, CALM), version=RecordVersion("calm", newer))
    other = replace(event("o", 0, GRAVE, CALM), version=RecordVersion("grave", older))
    await judge(store, grave, harmless, calm)
    verdict = await judge(store, grave, other, harmless)
    assert verdict.fresh == ()
    assert await said(redis, namespace) == [("e", "firing"), ("e", "resolved"), ("o", "firing")]


async def test_two_versions_in_one_batch_in_any_order(store: AlertStore) -> None:
    grave, harmless = event("e", 0, GRAVE), corrected("e", 0)
    assert len((await judge(store, grave, harmless, grave)).fresh) == 1
    assert await store.active() == []


async def test_a_window_counts_an_event_once_by_its_newest_content(store: AlertStore) -> None:
    await judge(store, event("a", 0, BURST), event("b", 1, BURST))
    await judge(store, corrected("b", 1, BURST))
    await judge(store, corrected("a", 0))
    assert not (await judge(store, event("c", 2, BURST))).fresh
    (alert,) = (await judge(store, event("d", 3, BURST))).fresh
    assert (alert.count, alert.event_ids) == (3, ("b", "c", "d"))


async def test_a_window_that_is_no_longer_full_resolves_and_may_alert_anew(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    await judge(store, *(event(name, i, BURST) for i, name in enumerate("abc")))
    (resolved,) = (await judge(store, corrected("a", 0))).resolved
    assert (resolved.event_id, resolved.count, resolved.resolved_because) == ("c", 3, "corrected")
    (alert,) = (await judge(store, event("d", 9, BURST))).fresh
    assert alert.event_ids == ("b", "c", "d")


async def test_an_alert_with_enough_others_behind_it_stays(store: AlertStore) -> None:
    await judge(store, event("a", 0, CALM), event("b", 1, CALM))
    await judge(store, *(event(name, i, BURST) for i, name in enumerate("wxyz")))
    verdict = await judge(store, corrected("a", 0), corrected("w", 0))
    assert verdict.resolved == ()
    assert await active(store) == {"a": ("b",), "y": ("x", "y", "z")}
    await judge(store, corrected("a", 0, CALM, offset=2))  # and comes back
    assert await active(store) == {"a": ("a", "b"), "y": ("x", "y", "z")}
    await judge(store, corrected("a", 0, offset=3), corrected("b", 1))
    assert await active(store) == {"y": ("x", "y", "z")}


async def test_a_withdrawn_alert_cools_nothing_down(store: AlertStore) -> None:
    await judge(store, event("a", 0, CALM))
    await judge(store, corrected("a", 0))
    assert len((await judge(store, event("b", 1, CALM))).fresh) == 1


async def test_what_has_been_over_by_the_clock_is_not_resolved_twice(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    await judge(store, event("a", 0, GRAVE))
    await judge(store, after=700)
    await judge(store, corrected("a", 0, GRAVE), after=701)
    await judge(store, corrected("a", 0, offset=2), after=702)
    assert await said(redis, namespace) == [("a", "firing"), ("a", "resolved")]


async def test_twenty_of_many_behind_an_alert_may_go(store: AlertStore) -> None:
    await judge(store, *(event(f"e{i:02}", i, CALM) for i in range(30)))
    await judge(store, *(corrected(f"e{i:02}", i) for i in range(10, 29)))
    (alert,) = await store.active()
    assert (alert.count, alert.event_ids) == (11, ("e29",))
    (resolved,) = (await judge(store, corrected("e29", 29))).resolved
    assert resolved.event_ids == ("e29",)


async def test_old_news_keeps_what_it_raised_and_raises_nothing(store: AlertStore) -> None:
    def old(offset: int, *matches: Match) -> Judged:
        return replace(corrected("e", 0, *matches, offset=offset), old=True)

    await judge(store, replace(event("never", 0, GRAVE), old=True))
    await judge(store, event("e", 0, GRAVE))
    assert not (await judge(store, old(1, GRAVE, CALM))).fresh
    assert await active(store) == {"e": ("e",)}
    await judge(store, old(2))
    assert not (await judge(store, old(3, GRAVE))).fresh
    assert await active(store) == {}


async def test_only_the_alerts_of_its_own_stream_are_touched(store: AlertStore) -> None:
    message = replace(event("e", 0, CALM), stream="customer-messages")
    await judge(store, message)
    await judge(store, event("e", 0, GRAVE))
    await judge(store, corrected("e", 0))
    assert [alert.stream for alert in await store.active()] == ["customer-messages"]


async def test_an_outcome_without_a_version_is_final(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    """It is of a worker before versions were written, which may run beside us."""
    raised = await judge(store, event("e", 0, GRAVE))
    await redis.delete(f"{namespace}-bellwether:version:{NEWS}:e")
    verdict = await judge(store, corrected("e", 0), corrected("e", 0, CALM, offset=2))
    assert (verdict.fresh, set(verdict.raised)) == ((), set(raised.raised))


async def test_odd_ids_are_corrected_too(store: AlertStore) -> None:
    odd = 'é/"\\\x00\n:{}[]😀%d%1'
    await judge(store, event(odd, 0, match(key=odd, reason=odd)))
    (resolved,) = (await judge(store, corrected(odd, 0))).resolved
    assert (resolved.event_id, resolved.reason) == (odd, odd)


async def test_outcomes_of_many_alerts_are_cut_where_they_belong(store: AlertStore) -> None:
    rules = [match(f"rule-{i}", "é,{" * i, reason='"},{"' * i) for i in range(5)]
    first = (await judge(store, event("e", 0, *rules))).fresh
    verdict = await judge(store, corrected("e", 0, rules[0], rules[4], GRAVE))
    assert verdict.raised == ((*first, *verdict.fresh),)
    final = await judge(store, corrected("e", 0, *rules, offset=2))
    again = {alert.rule: alert.raised_again for alert in final.raised[0]}
    assert again == {"rule-0": None, "rule-4": None, "grave": None} | {
        f"rule-{i}": 1 for i in (1, 2, 3)
    }


async def test_nothing_is_left_of_what_is_forgotten(
    store: AlertStore, redis: Redis, namespace: str
) -> None:
    await judge(store, event("gone", 0, GRAVE, BURST, CALM), event("kept", 1, CALM))
    await judge(store, corrected("gone", 0, CALM))
    await store.forget(NEWS, ["gone"])
    for key in await redis.keys(f"{namespace}*"):
        assert b"gone" not in key
        if b":window:" in key:
            assert await redis.zrange(key, 0, -1) == []
    assert (await judge(store)).resolved == ()
    raised: list[Alert] = [entry.alert for entry in await entries(redis, f"{namespace}-")]
    assert raised == []
