"""Whether a worker keeps its pace while the trainer learns, and how long a run takes beside it.

Five hundred labels of a concept (benchmarks/common/concept.py), by three annotators in turn, stand
in the topic `labels`. A worker drains backlogs (benchmarks/common/backlog.py says how that is
timed), a few of them alone. Then `bellwether trainer --once` starts, and the worker drains one
backlog after the other for as long as it runs; a backlog during which the run ended does not count.
Between two backlogs the worker is stopped while the next one is published, so the trainer has a
little more room than beside a worker that never rests: the table says how much.

The trainer has the labelled sets against forgetting and keeps no vectors from an earlier run, which
is its longest way. It is started in a session of its own, as in another terminal or by a service
manager, since Linux shares the processor among sessions first.
"""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.common.backlog import Bench, Drain, warm_worker
from benchmarks.common.command import DEFAULT_DATA, Data, Running, execute
from benchmarks.common.concept import lessons
from benchmarks.common.corpus import Post, events, posts
from benchmarks.common.screen import machine, results, say, table, verdict
from benchmarks.common.servers import servers
from models.incremental import Method
from models.opinions import Lesson
from models.versions import CANDIDATE
from schemas.errors import BellwetherError
from schemas.labels import LabelRecord
from stream.champion import open_registry
from stream.labels import TOPIC
from stream.runtime import LABEL_BYTES
from stream.settings import PREFIX, Settings
from stream.topic_writer import Outgoing, TopicWriter
from tests.end_to_end.harness import environment

ANNOTATORS = ("ann", "bob", "cem")
LEAST_PACE, MOST_MINUTES = 0.7, 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the trainer: its last line, and how long it took, by the clock and by the
    processor."""

    said: str
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Beside:
    """A run, and the backlogs that the worker drained meanwhile."""

    run: Run
    drains: Sequence[Drain]

    @property
    def events_a_second(self) -> float:
        """Over all of them: a slow while counts for as long as it took."""
        return sum(d.events for d in self.drains) / sum(d.seconds for d in self.drains)

    @property
    def share_at_work(self) -> float:
        """The part of the run in which the worker had something to do."""
        return sum(d.seconds for d in self.drains) / self.run.seconds


def trainer(
    labels: Annotated[int, typer.Option(min=20, help="New labels in the topic.")] = 500,
    method: Annotated[Method, typer.Option(help="What learns, as `bellwether trainer`.")] = "auto",
    texts: Annotated[int, typer.Option(min=500, help="Texts of a backlog.")] = 6000,
    rounds: Annotated[int, typer.Option(min=1, help="Backlogs of the worker alone.")] = 3,
    alone: Annotated[
        bool, typer.Option("--alone", help="Make the run a second time, beside a worker at rest.")
    ] = False,
    running: Running = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Measure the worker's pace beside a run of the trainer, and how long the run takes.

    \b
    Examples:
      $ python -m benchmarks.trainer                   heads, and the encoder if they do not learn
      $ python -m benchmarks.trainer --method lora     the encoder learns in any case
      $ python -m benchmarks.trainer --alone           how much longer the run takes beside a worker
    """
    where = machine()
    found = posts(data, texts)
    taught = lessons(data, labels)[:labels]
    with servers(running, say) as (shared, folder):
        settings = _settings(shared, folder / "beside", data, labels)
        asyncio.run(_give(settings, taught))
        with warm_worker(settings, folder, events(found, "warm")) as bench:
            before = [_drained(bench, found, f"alone-{n}") for n in range(rounds)]
            beside = _beside(bench, method, found)
            rest = _settings(shared, folder / "alone", data, labels)
            by_itself = _by_itself(rest, method) if alone else None
        learnt = _learnt(settings)
    results.print(where)
    results.print(_shown(labels, before, beside, by_itself))
    results.print(f"What learnt: {learnt}. The run's last line: {beside.run.said}")


def _settings(settings: Settings, home: Path, data: Path, labels: int) -> Settings:
    """With a registry of its own, so that what is promoted serves nobody else; and people may be
    quick, since all labels come at once."""
    home.mkdir()
    return settings.model_copy(
        update={
            "home": home,
            "registry": "",
            "model": None,
            "training_data": data,
            "labels_an_hour": labels,
        }
    )


async def _give(settings: Settings, taught: Sequence[Lesson]) -> None:
    """One label a post, by one annotator after the other."""
    now = datetime.now(UTC)
    records = [
        LabelRecord(
            task=lesson.task,
            event_id=f"taught-{place}",
            annotator=ANNOTATORS[place % len(ANNOTATORS)],
            stream="financial-news",
            label=lesson.label,
            text=lesson.text,
            selection="correction",
            given_at=now,
            feedback_id=f"taught-{place}",
        )
        for place, lesson in enumerate(taught)
    ]
    writer = TopicWriter(settings, TOPIC, LABEL_BYTES, lambda: None)
    try:
        await writer.write([Outgoing(record.key, record.to_json()) for record in records])
    finally:
        await writer.close()


def _drained(bench: Bench, found: Sequence[Post], name: str) -> Drain:
    drained = bench.drain(events(found, name))
    say(f"{name}: {drained.events_a_second:.0f} events/s")
    return drained


def _beside(bench: Bench, method: Method, found: Sequence[Post]) -> Beside:
    drains: list[Drain] = []
    with _training(bench.settings, method) as run:
        while not run.done():
            drained = _drained(bench, found, f"beside-{len(drains)}")
            if not run.done():
                drains.append(drained)
    if not drains:
        raise BellwetherError("the run ended within one backlog: take fewer --texts")
    return Beside(run.result(), drains)


def _by_itself(settings: Settings, method: Method) -> Run:
    say("the same run while the worker rests")
    with _training(settings, method) as run:
        return run.result()


@contextmanager
def _training(settings: Settings, method: Method) -> Iterator[Future[Run]]:
    """`bellwether trainer --once` at work; what it tells goes to standard error."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    command = [sys.executable, "-m", "stream", "trainer", "--once", "--method", method]
    with (
        subprocess.Popen(
            command,
            env=inherited | environment(settings),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
        ThreadPoolExecutor(1) as waiting,
    ):
        try:
            yield waiting.submit(_waited, process)
        finally:
            process.kill()


def _waited(process: "subprocess.Popen[str]") -> Run:
    started, cpu = time.perf_counter(), _cpu_of_ended()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise BellwetherError(f"the trainer ended with {process.returncode}")
    return Run(output.splitlines()[-1], seconds, _cpu_of_ended() - cpu)


def _cpu_of_ended() -> float:
    """Processor seconds of this process' children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _learnt(settings: Settings) -> str:
    """How the candidate was made."""
    registry = open_registry(settings)
    candidate = registry.alias(CANDIDATE)
    return str(registry.report(candidate)["method"]) if candidate else "nothing"


def _shown(labels: int, before: Sequence[Drain], beside: Beside, by_itself: Run | None) -> Table:
    pace = statistics.median(drain.events_a_second for drain in before)
    share, run = beside.events_a_second / pace, beside.run
    shown = table(f"A run on {labels} labels beside a worker", "", "", "of all backlogs", "wanted")
    shown.add_row("the worker alone, events/s", f"{pace:.0f}", _range(before))
    shown.add_row(
        "the worker beside the trainer, events/s",
        f"{beside.events_a_second:.0f}",
        _range(beside.drains),
    )
    shown.add_row(
        "of its own pace", f"{share:.2f}", "", f"{LEAST_PACE:g}: {verdict(share >= LEAST_PACE)}"
    )
    minutes = run.seconds / 60
    shown.add_row(
        "the run beside a busy worker, minutes",
        f"{minutes:.1f}",
        "",
        f"under {MOST_MINUTES:g}: {verdict(minutes < MOST_MINUTES)}",
    )
    shown.add_row("of processor time, minutes", f"{run.cpu_seconds / 60:.1f}")
    shown.add_row("the worker was at work", f"{beside.share_at_work:.0%} of the run")
    if by_itself:
        shown.add_row("the run alone, minutes", f"{by_itself.seconds / 60:.1f}")
    return shown


def _range(drains: Sequence[Drain]) -> str:
    rates = [drain.events_a_second for drain in drains]
    return f"{min(rates):.0f} to {max(rates):.0f}"


if __name__ == "__main__":
    execute(trainer)
