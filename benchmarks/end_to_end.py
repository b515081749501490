"""Events a second, end to end: one worker beside the bare engine and what one would pick otherwise.

All on the same servers, with the same texts and the same encoder, in one run. The worker drains a
backlog that waits for it (benchmarks/common/backlog.py says how that is timed); the bare engine is
`Classifier.classify` on the very texts of that backlog, run while the worker and the servers have
nothing to do. A round is the engine, the worker and the engine again, so that a machine whose own
speed comes and goes does so for both; the ratio is the median over the rounds. The alternatives
read the same topics afterwards, fewer texts, since they are slower (benchmarks/alternatives/).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.backlog import Bench, warm_worker
from benchmarks.common.command import DEFAULT_DATA, Data, Running, execute
from benchmarks.common.corpus import Event, Post, events, posts
from benchmarks.common.screen import machine, say
from benchmarks.common.servers import servers
from benchmarks.common.speed import WORKER_TO_SCRIPT, Alternative, Pass, Round, show
from models.classifier import Classifier
from schemas.errors import BellwetherError
from schemas.records import Kind
from stream.champion import model_folder
from stream.settings import Settings

ENGINE_WARM_UP_TEXTS = 500
ALTERNATIVE_SECONDS = 300
# Module, name, and how many times as fast the worker should be.
ALTERNATIVES: tuple[tuple[str, str, float | None], ...] = (
    ("careful_script", "a careful script, batches of 32", WORKER_TO_SCRIPT),
    ("quix_streams", "Quix Streams, a call a message", None),
)


class Engine:
    """The bare engine, with as many threads as the worker's."""

    def __init__(self, settings: Settings) -> None:
        self._classifier = Classifier.load(
            model_folder(settings),
            device=settings.device,
            threads=settings.threads or os.cpu_count() or 1,
        )

    def classify(self, backlog: Sequence[Event]) -> Pass:
        """All texts in one call, as fast as the engine can be."""
        texts, kinds = [event.text for event in backlog], [event.kind for event in backlog]
        cpu, started = time.process_time(), time.perf_counter()
        self._classifier.classify(texts, kinds)
        return Pass(len(texts), time.perf_counter() - started, time.process_time() - cpu)


def end_to_end(
    texts: Annotated[int, typer.Option(min=100, help="Texts of a backlog.")] = 4000,
    rounds: Annotated[int, typer.Option(min=1, help="Backlogs; medians are shown.")] = 5,
    script_texts: Annotated[int, typer.Option(min=64, help="Texts of the script.")] = 1500,
    quix_texts: Annotated[int, typer.Option(min=20, help="Texts of Quix Streams.")] = 300,
    alternatives: Annotated[
        bool, typer.Option(help="Whether the script and Quix Streams run too.")
    ] = True,
    py_spy: Annotated[
        Path | None,
        typer.Option(
            "--py-spy", help="Record one more backlog with py-spy; write a flame graph (SVG) here."
        ),
    ] = None,
    running: Running = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Measure how many events a second one worker takes from Kafka to Redis and Elasticsearch.

    Beside it: the bare engine on the same texts, a careful script in batches of 32, and Quix
    Streams; then where the worker's time goes, by stage and by process.

    \b
    Examples:
      $ python -m benchmarks.end_to_end                           on servers of its own
      $ python -m benchmarks.end_to_end --rounds 5 --no-alternatives
      $ python -m benchmarks.end_to_end --py-spy worker.svg       where the worker's time goes
      $ python -m benchmarks.end_to_end --running                 on the servers of `make up`
    """
    where = machine()
    found = posts(data, texts)
    with servers(running, say) as (settings, folder):
        with warm_worker(settings, folder, events(found, "warm")) as bench:
            measured = _rounds(bench, found, rounds)
            if py_spy:
                _record(bench, found, measured[-1].worker.seconds, py_spy)
        counts = (script_texts, quix_texts) if alternatives else ()
        others = [
            _alternative(settings, folder, *which, count)
            for which, count in zip(ALTERNATIVES, counts, strict=False)
        ]
    show(where, measured, others)


def _rounds(bench: Bench, found: Sequence[Post], rounds: int) -> list[Round]:
    engine = Engine(bench.settings)
    engine.classify(events(found[:ENGINE_WARM_UP_TEXTS], "warm"))
    measured = []
    for number in range(1, rounds + 1):
        done = _round(bench, engine, events(found, f"round{number}"))
        say(
            f"round {number} of {rounds}: the engine {done.engine.events_a_second:.0f} events/s, "
            f"the worker {done.worker.events_a_second:.0f}"
        )
        measured.append(done)
    return measured


def _round(bench: Bench, engine: Engine, backlog: Sequence[Event]) -> Round:
    """The engine before and after the worker, since the machine's own speed comes and goes."""
    before = engine.classify(backlog)
    worker = bench.drain(backlog)
    return Round((before, engine.classify(backlog)), worker)


def _record(bench: Bench, found: Sequence[Post], seconds: float, file: Path) -> None:
    """One more backlog, not timed, under py-spy."""
    say("recording a backlog with py-spy")
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--threads"]
    command += ["--output", str(file), "--pid", str(bench.process.pid)]
    command += ["--duration", str(round(seconds) + 1)]
    with subprocess.Popen(command, stdout=sys.stderr) as spy:
        bench.feed(events(found, "spy"))
        if spy.wait():
            raise BellwetherError("py-spy failed: it must be allowed to trace processes (ptrace)")


def _alternative(
    settings: Settings, folder: Path, module: str, name: str, wanted: float | None, texts: int
) -> Alternative:
    say(f"{name}: {texts} texts")
    command = [sys.executable, "-m", f"benchmarks.alternatives.{module}", "--texts", str(texts)]
    command += ["--kafka", settings.kafka, "--elasticsearch", settings.elasticsearch]
    command += ["--group", f"{settings.prefix}{module}", "--folder", str(folder)]
    command += ["--index", f"{settings.prefix}{module.replace('_', '-')}"]
    command += [settings.topic(kind.stream) for kind in Kind]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=ALTERNATIVE_SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise BellwetherError(f"{name} failed:\n{error.stderr[-2000:]}") from None
    except subprocess.TimeoutExpired:
        raise BellwetherError(f"{name} took over {ALTERNATIVE_SECONDS} s") from None
    answer = json.loads(done.stdout.splitlines()[-1])
    return Alternative(name, answer["texts"], answer["texts"] / answer["seconds"], wanted)


if __name__ == "__main__":
    execute(end_to_end)
