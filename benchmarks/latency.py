"""How long an event takes to become an alert and a document, at half of what the worker can do.

The load is open-loop: a schedule of sends is made beforehand (Poisson arrivals, so with natural
bursts) and never waits for anything; a latency is counted from the *scheduled* instant, so that a
sender, broker or worker that falls behind makes every late event slower, and hides none. All
instants are read from one clock, in this process.

- To alert: until XREAD hands the alert's entry over. A share of the events are texts of which the
  model and the rules said beforehand, in this process, that each raises an alert of its own
  (a rule keyed by event_id); what else raises an alert counts too.
- To document: until a GET by id (`_mget`, realtime) finds the document. A quarter of the events
  are looked for, every LOOK_SECONDS, so the figure is up to that much too high and the looking
  costs Elasticsearch little. Searches see a document after the index' next refresh, within another
  second.
"""

import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.table import Table

from benchmarks.common.alerting import AlertingTexts
from benchmarks.common.backlog import Bench, Page, difference, warm_worker
from benchmarks.common.command import DEFAULT_DATA, Data, Running, execute
from benchmarks.common.corpus import Event, Post, events, posts
from benchmarks.common.flight import LOOK_SECONDS, Flight, Observatory, Plan
from benchmarks.common.screen import machine, percentile, results, say, table, verdict
from benchmarks.common.servers import servers
from benchmarks.common.usage import OTHERS
from schemas.errors import BellwetherError
from stream.settings import Settings

CAPACITY_ROUNDS = 3
ALERTING_SHARE = 0.05
WATCHED_SHARE = 0.25
ALERT_P99_MS = 250
SEED = 3


def latency(
    seconds: Annotated[float, typer.Option(min=1, help="How long events are sent.")] = 60,
    load: Annotated[
        float, typer.Option(min=0.01, max=1.5, help="Events a second, as a share of capacity.")
    ] = 0.5,
    texts: Annotated[int, typer.Option(min=500, help="Texts of a backlog for capacity.")] = 3000,
    running: Running = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Measure capacity, then the latency to alert and to document below it.

    Sends follow a schedule and wait for nothing; latency counts from the scheduled instant.

    \b
    Examples:
      $ python -m benchmarks.latency                        a minute at half of capacity
      $ python -m benchmarks.latency --load 0.8             nearer the limit
      $ python -m benchmarks.latency --seconds 600 --running
    """
    where = machine()
    found = posts(data, texts)
    with (
        servers(running, say) as (settings, folder),
        warm_worker(settings, folder, events(found, "warm")) as bench,
    ):
        rates = _capacity(bench, found)
        capacity = statistics.median(rates)
        flight, plan = _prepared(settings, load * capacity, seconds, data)
        say(f"sending {len(plan)} events in {seconds:g} s")
        page = bench.page()
        cores = _fly(bench, flight, plan)
        batches = _batches(page, bench.page())
    results.print(where)
    results.print(
        f"Capacity: [bold]{capacity:.0f} events/s[/bold] ({len(rates)} backlogs of {texts} texts: "
        f"{min(rates):.0f} to {max(rates):.0f})"
    )
    results.print(
        f"Load: {load:g} of it, {len(plan)} events in {seconds:g} s, open-loop; "
        f"{len(flight.alerting)} of them texts that raise an alert"
    )
    _show(flight)
    results.print(batches)
    _show_cores(cores)
    if flight.missing:
        raise BellwetherError(f"{flight.missing} alerts or documents were not seen in time")


def _capacity(bench: Bench, found: Sequence[Post]) -> list[float]:
    """Events a second of one backlog after the other."""
    rates = []
    for number in range(1, CAPACITY_ROUNDS + 1):
        rates.append(bench.drain(events(found, f"capacity{number}")).events_a_second)
        say(f"backlog {number}: {rates[-1]:.0f} events/s")
    return rates


def _prepared(settings: Settings, rate: float, seconds: float, data: Path) -> tuple[Flight, Plan]:
    """What is to be sent when, and what is to be seen of it."""
    chance = random.Random(SEED)
    alerting = AlertingTexts(settings)
    due = list(arrivals(rate, seconds, chance))
    plan = _plan(due, events(posts(data, len(due)), "flight"), alerting, chance)
    flight = Flight(
        alerting={event.id for _, event in plan if alerting.has(event.text)},
        watched={event.id for _, event in plan if chance.random() < WATCHED_SHARE},
    )
    return flight, plan


def _fly(bench: Bench, flight: Flight, plan: Plan) -> dict[str, float]:
    """Send and watch; how many cores were busy meanwhile, by name."""
    cpu, started = bench.cpu(), time.perf_counter()
    uvloop.run(Observatory(bench.settings, flight).fly(plan))
    seconds = time.perf_counter() - started
    return {name: used / seconds for name, used in difference(bench.cpu(), cpu).items()}


def arrivals(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """The seconds of Poisson arrivals, `rate` a second on average."""
    second = chance.expovariate(rate)
    while second < seconds:
        yield second
        second += chance.expovariate(rate)


def _plan(
    due: Sequence[float], ordinary: Sequence[Event], alerting: AlertingTexts, chance: random.Random
) -> Plan:
    """The ordinary events, a share of them replaced by events that raise an alert."""
    return [
        (at, alerting.event(event.id, chance) if chance.random() < ALERTING_SHARE else event)
        for at, event in zip(due, ordinary, strict=True)
    ]


def _show(flight: Flight) -> None:
    shown = table(
        "From the scheduled send, in ms", "to", "events", "p50", "p99", "max", "wanted at p99"
    )
    rows: tuple[tuple[str, Mapping[str, float], float | None], ...] = (
        ("the send itself (the load generator's delay)", flight.sent, None),
        ("an alert in Redis", flight.alerted, ALERT_P99_MS),
        ("a document in Elasticsearch", flight.stored, None),
    )
    for name, seen, wanted in rows:
        times = flight.milliseconds(seen) or [math.nan]
        p50, p99, longest = percentile(times, 0.5), percentile(times, 0.99), max(times)
        figures = (f"{ms:.0f}" for ms in (p50, p99, longest))
        shown.add_row(name, str(len(seen)), *figures, _verdict(p99, wanted))
    results.print(shown)
    results.print(
        f"[dim]Documents are looked for every {1000 * LOOK_SECONDS:.0f} ms, so theirs is up to so "
        "much too high; a search finds them within another second.[/dim]"
    )


def _batches(before: Page, after: Page) -> Table:
    """How large the batches were, and how long each stage took for one."""
    batches = after.batches - before.batches
    size = (after.records - before.records) / batches
    shown = table("Batches", f"{batches:.0f} of {size:.1f} events", "ms each")
    for stage, seconds in difference(after.stages, before.stages).items():
        shown.add_row(stage, f"{1000 * seconds / batches:.1f}")
    return shown


def _show_cores(cores: Mapping[str, float]) -> None:
    shown = table("Meanwhile", "", "cores busy")
    for name, busy in [*cores.items(), ("in all", sum(cores.values()))]:
        generator = ", this load generator included" if name == OTHERS else ""
        shown.add_row(name + generator, f"{busy:.2f}")
    results.print(shown)


def _verdict(milliseconds: float, wanted: float | None) -> str:
    if wanted is None:
        return ""
    return f"under {wanted:g}: {verdict(milliseconds < wanted)}"


if __name__ == "__main__":
    execute(latency)
