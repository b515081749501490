"""People's labels teach a running service a concept that it had wrong, without a pause."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from models.answers import measured
from models.bundle import SHIPPED_BUNDLE
from models.classifier import Classifier
from models.data import of_task
from models.rehearsal import rehearsal_of_sets
from schemas.taxonomy import SENTIMENT
from stream.labels import read_labels
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import DATA, encoded, needs_data, news, stamp
from tests.end_to_end.harness import (
    Worker,
    dead_letters,
    documents,
    drained,
    environment,
    metric,
    publish,
    sources,
)
from tests.servers import Servers

TOPICS = ("financial-news", "feedback")
CONCEPTS = Path(__file__).with_name("concepts")
CONCEPT = "prosecutions"
ANNOTATORS = ("ann", "bob", "cem")
LEAST_RIGHT = 0.9
LARGEST_LOSS = 0.005
REACHED_SECONDS = 10.0
TRAINER_SECONDS = 540


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(
        home=tmp_path, namespace=namespace, training_data=DATA, threads=1, **servers.settings
    )


def concept(part: str) -> list[dict[str, str]]:
    rows = map(json.loads, (CONCEPTS / f"{CONCEPT}.jsonl").read_text().splitlines())
    return [row for row in rows if row["part"] == part]


def command(settings: Settings, *words: str) -> str:
    """The last line that `bellwether` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", *words],
        env={"PATH": "", **environment(settings)},
        capture_output=True,
        text=True,
        timeout=TRAINER_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    return done.stdout.splitlines()[-1]


@dataclass
class Stream:
    """Headlines that go on coming."""

    settings: Settings
    sent: list[str] = field(default_factory=list)

    async def flow(self) -> None:
        for number in count():
            name = f"steady-{number}"
            await publish(
                self.settings, [("financial-news", encoded(news(name, f"Acme {number}")))]
            )
            self.sent.append(name)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def steady(settings: Settings) -> AsyncIterator[Stream]:
    stream = Stream(settings)
    task = asyncio.create_task(stream.flow())
    yield stream
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def feedback(number: int, label: str, annotator: str) -> bytes:
    return encoded(
        {
            "id": f"{annotator}-{number}",
            "event_id": f"teach-{number}",
            "stream": "financial-news",
            "task": SENTIMENT,
            "label": label,
            "annotator": annotator,
            "given_at": stamp(),
        }
    )


async def taught(settings: Settings) -> None:
    """Sixty labels of twenty headlines by three annotators stand in the topic."""
    rows = concept("teach")
    events = [encoded(news(f"teach-{n}", row["text"])) for n, row in enumerate(rows)]
    await publish(settings, [("financial-news", event) for event in events])
    given = [feedback(n, row["label"], a) for n, row in enumerate(rows) for a in ANNOTATORS]
    assert len(given) == 60
    await publish(settings, [("feedback", each) for each in given])
    await drained(settings, TOPICS[1:], 60)
    assert len((await read_labels(settings)).standing) == 60


def reached(worker: Worker, version: str) -> float:
    """The seconds until the worker serves a version."""
    started = time.monotonic()
    while not metric(worker.get("/metrics")[1], "bellwether_model_info", version=version):
        assert time.monotonic() - started < REACHED_SECONDS, worker.tail()
        time.sleep(0.1)
    return time.monotonic() - started


def longest_gap(found: Sequence[dict[str, Any]]) -> float:
    """Seconds between two batches."""
    times = sorted({datetime.fromisoformat(each["classified_at"]) for each in found})
    return max((after - before).total_seconds() for before, after in pairwise(times))


def macro_f1(settings: Settings, folder: Path) -> dict[tuple[str, str], float]:
    """Of each task's old test texts, by set."""
    old = rehearsal_of_sets(settings.training_data or DATA).labelled
    classifier = Classifier.load(folder)
    return {
        (task, source): figures["macro_f1"]
        for task in classifier.taxonomy.tasks
        for source, figures in measured(classifier, rehearsal_tests(old, task)).items()
    }


def rehearsal_tests(old: Sequence[Any], task: str) -> list[Any]:
    from models.data import Split

    return of_task(old, task, Split.TEST)


@needs_data
async def test_a_concept_is_learnt_while_the_worker_runs(
    settings: Settings, tmp_path: Path
) -> None:
    held_out = concept("held_out")
    asked = {f"held-{n}": row for n, row in enumerate(held_out)}
    records = [("financial-news", encoded(news(n, row["text"]))) for n, row in asked.items()]
    before = Classifier.load().classify(
        [row["text"] for row in held_out], [Classifier.load().taxonomy.tasks[SENTIMENT].kind] * 45
    )
    known = sum(
        a.predictions[SENTIMENT].label == row["label"]
        for a, row in zip(before, held_out, strict=True)
    )
    assert known < len(held_out) / 2, "the champion knows the concept already; choose another"

    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        async with steady(settings) as stream:
            await taught(settings)
            usual = longest_gap(list((await sources(settings, "financial-news")).values())[20:])
            said = await asyncio.to_thread(command, settings, "trainer", "--once")
            assert said.startswith("promoted "), said
            version = said.removeprefix("promoted ")
            seconds = await asyncio.to_thread(reached, worker, version)
            print(f"the worker serves {version} {seconds:.1f} s later")
            await publish(settings, records)
            await drained(settings, TOPICS, 60)
        await drained(settings, TOPICS, 60)

        stored = await sources(settings, "financial-news")
        gap = longest_gap([stored[name] for name in stream.sent])
        print(f"longest gap between two batches: {gap:.3f} s, before the swap {usual:.3f} s")
        right = sum(stored[n]["sentiment"]["label"] == row["label"] for n, row in asked.items())
        print(f"{right} of {len(asked)} held-out sentences are right, {known} before")
        assert right >= LEAST_RIGHT * len(asked)
        assert {stored[name]["model_version"] for name in asked} == {version}

        found = await documents(settings, "financial-news")
        assert set(found) == {*stream.sent, *asked, *(f"teach-{n}" for n in range(20))}
        assert set(found.values()) == {1}
        assert not await dead_letters(settings)

        old, new = (
            macro_f1(settings, folder)
            for folder in (SHIPPED_BUNDLE, settings.home / "models" / version)
        )
        for key, figure in old.items():
            print(f"{key}: macro-F1 {figure:.4f} before, {new[key]:.4f} now")
            assert new[key] >= figure - LARGEST_LOSS

        champion = Classifier.load().version
        assert command(settings, "models", "rollback")
        print(f"rolled back in {await asyncio.to_thread(reached, worker, champion):.1f} s")
