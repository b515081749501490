"""One worker draining a backlog, timed without its start.

A worker is started and drains a few backlogs untimed, so that it and the servers are warm. Now, for
each measurement, it is stopped by SIGSTOP, the backlog is published, and the clock starts when
SIGCONT lets it go on with all of it waiting. The clock ends when the worker's own count of
confirmed documents says that the last one is in Elasticsearch. Redis has judged each before that,
so alerts are included.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.common.corpus import Event
from benchmarks.common.screen import say
from benchmarks.common.usage import local_servers, used, worker_process
from schemas.errors import BellwetherError
from stream.settings import Settings
from tests.end_to_end.harness import Worker, metric, publish

STAGES = ("classify", "analyse", "judge", "store")
SETTLE_SECONDS = 1.0
STALL_SECONDS = 60.0
WARM_UPS = 3
SHORTEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Drain:
    """What it took to drain a backlog.

    `stages` and `cpu` are seconds by name, `batches` the batches that went through the model.
    """

    events: int
    seconds: float
    batches: float
    stages: Mapping[str, float]
    cpu: Mapping[str, float]

    @property
    def events_a_second(self) -> float:
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class Page:
    """What the worker's /metrics page said at one time."""

    records: float
    documents: float
    batches: float
    stages: Mapping[str, float]

    @classmethod
    def read(cls, worker: Worker) -> "Page":
        """Raises BellwetherError with the end of the worker's log when it does not answer."""
        status, text = worker.get("/metrics")
        if status != 200:
            raise BellwetherError(f"the worker does not answer:\n{worker.tail()}")
        return cls(
            records=metric(text, "bellwether_events_total"),
            documents=metric(text, "bellwether_documents_total"),
            batches=metric(text, "bellwether_batch_records_count"),
            stages={
                stage: metric(text, "bellwether_stage_seconds_sum", stage=stage) for stage in STAGES
            },
        )


class Bench:
    """A warm worker in a namespace of its own."""

    def __init__(self, settings: Settings, worker: Worker) -> None:
        self.settings = settings
        self.process = worker_process(worker.pid)
        self._worker = worker
        self._servers = local_servers(settings)

    def drain(self, backlog: Sequence[Event]) -> Drain:
        """Time the worker from when all of a backlog waits for it until all of it is confirmed.

        The worker is stopped while the backlog is published, which takes much less than the
        group's session, so that it keeps its partitions. Raises BellwetherError where it got
        records twice all the same, since then the figure would mean nothing.
        """
        before = self.page()
        self.process.suspend()
        self._publish(backlog)
        cpu, started = self.cpu(), time.perf_counter()
        self.process.resume()
        after = self._wait(before.documents + len(backlog), started)
        seconds = time.perf_counter() - started
        if (read := after.records - before.records) != len(backlog):
            raise BellwetherError(f"the worker read {read:.0f} records, not {len(backlog)}")
        return Drain(
            events=len(backlog),
            seconds=seconds,
            batches=after.batches - before.batches,
            stages=difference(after.stages, before.stages),
            cpu=difference(self.cpu(), cpu),
        )

    def feed(self, backlog: Sequence[Event]) -> None:
        """Have the worker take a backlog without stopping or timing it."""
        documents = self.page().documents + len(backlog)
        self._publish(backlog)
        self._wait(documents, time.perf_counter())

    def page(self) -> Page:
        """What the worker counted so far."""
        return Page.read(self._worker)

    def cpu(self) -> dict[str, float]:
        """Processor seconds so far by name."""
        return used(self.process, self._servers)

    def _publish(self, backlog: Sequence[Event]) -> None:
        now = datetime.now(UTC)
        asyncio.run(publish(self.settings, [event.record(now) for event in backlog]))
        time.sleep(SETTLE_SECONDS)

    def _wait(self, documents: float, started: float) -> Page:
        """Look at the count of documents seldom at first, and often when the end is near."""
        first = page = self.page()
        moved_at = started
        while page.documents < documents:
            now = time.perf_counter()
            if now - moved_at > STALL_SECONDS:
                missing = documents - page.documents
                raise BellwetherError(
                    f"{missing:.0f} events are missing for {STALL_SECONDS:.0f} s:\n"
                    + self._worker.tail()
                )
            rate = (page.documents - first.documents) / (now - started)
            left = (documents - page.documents) / rate if rate else 0.0
            time.sleep(min(max(left / 3, SHORTEST_LOOK_SECONDS), LONGEST_LOOK_SECONDS))
            before, page = page, self.page()
            if page.documents > before.documents:
                moved_at = time.perf_counter()
        return page


@contextmanager
def warm_worker(settings: Settings, folder: Path, warm_up: Sequence[Event]) -> Iterator[Bench]:
    """Start a worker, have it drain a backlog untimed a few times, and end it afterwards."""
    say("starting a worker")
    with Worker(settings, folder / "worker.log") as worker:
        try:
            worker.wait_ready()
        except AssertionError as error:
            raise BellwetherError(str(error)) from None
        bench = Bench(settings, worker)
        for number in range(1, WARM_UPS + 1):
            say(f"warming up, {number} of {WARM_UPS}")
            bench.feed(warm_up)
        yield bench
        worker.terminate()


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was added under each name."""
    return {name: value - before[name] for name, value in after.items()}
