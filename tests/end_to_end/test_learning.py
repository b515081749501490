"""People's labels teach a running service a concept that it had wrong, without a pause."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from models.answers import answers
from models.bundle import SHIPPED_BUNDLE
from models.classifier import Classifier
from models.measures import macro_f1
from models.rehearsal import rehearsal_of_sets
from schemas.records import Kind
from schemas.taxonomy import INTENT
from stream.clients import kafka_options
from stream.labels import read_labels
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import DATA, encoded, message, needs_data, stamp
from tests.end_to_end.harness import (
    Worker,
    bellwether,
    dead_letters,
    documents,
    drained,
    publish,
    sources,
)
from tests.servers import Servers

STREAM = "customer-messages"
CONCEPTS = Path(__file__).with_name("concepts")
CONCEPT = "phishing"
ANNOTATORS = ("ann", "bob", "cem")
LEAST_RIGHT = 0.9
LARGEST_LOSS = 0.005
REACHED_SECONDS = 10.0


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(
        home=tmp_path,
        namespace=namespace,
        training_data=DATA,
        threads=1,
        trainer_threads=2,
        **servers.settings,
    )


def concept(part: str) -> list[dict[str, str]]:
    rows = map(json.loads, (CONCEPTS / f"{CONCEPT}.jsonl").read_text().splitlines())
    return [row for row in rows if row["part"] == part]


@dataclass
class Stream:
    """Messages that go on coming."""

    settings: Settings
    sent: list[str] = field(default_factory=list)

    async def flow(self) -> None:
        producer = AIOKafkaProducer(**kafka_options(self.settings), acks="all")
        await producer.start()
        try:
            for number in count():
                value = encoded(message(f"steady-{number}", f"Where is card {number}?"))
                await producer.send_and_wait(self.settings.topic(STREAM), value)
                self.sent.append(f"steady-{number}")
                await asyncio.sleep(0.03)
        finally:
            await producer.stop()


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
            "stream": STREAM,
            "task": INTENT,
            "label": label,
            "annotator": annotator,
            "given_at": stamp(),
        }
    )


async def taught(settings: Settings) -> None:
    """Sixty labels of twenty messages by three annotators stand in the topic."""
    rows = concept("teach")
    events = [encoded(message(f"teach-{n}", row["text"])) for n, row in enumerate(rows)]
    await publish(settings, [(STREAM, event) for event in events])
    given = [feedback(n, row["label"], a) for n, row in enumerate(rows) for a in ANNOTATORS]
    assert len(given) == 60
    await publish(settings, [("feedback", each) for each in given])
    await drained(settings, ["feedback"], 60)
    assert len((await read_labels(settings)).standing) == 60


def reached(worker: Worker, version: str) -> float:
    """The seconds until the worker serves a version."""
    started = time.monotonic()
    while version not in worker.serves():
        assert time.monotonic() - started < REACHED_SECONDS, worker.tail()
        time.sleep(0.1)
    return time.monotonic() - started


def longest_gap(found: Sequence[dict[str, Any]]) -> float:
    """Seconds between two batches."""
    times = sorted({datetime.fromisoformat(each["classified_at"]) for each in found})
    return max((after - before).total_seconds() for before, after in pairwise(times))


def old_macro_f1(folder: Path) -> dict[str, float]:
    """Of each task's test texts."""
    old, classifier = rehearsal_of_sets(DATA), Classifier.load(folder)
    found = {}
    for name, task in classifier.taxonomy.tasks.items():
        texts = old.test(name)
        true = np.array([task.labels.index(example.label) for example in texts])
        said = [task.labels.index(each.label) for each in answers(classifier, texts)]
        found[name] = macro_f1(true, np.array(said))
    return found


@needs_data
async def test_a_concept_is_learnt_while_the_worker_runs(
    settings: Settings, tmp_path: Path
) -> None:
    held_out = concept("held_out")
    asked = {f"held-{n}": row for n, row in enumerate(held_out)}
    records = [(STREAM, encoded(message(n, row["text"]))) for n, row in asked.items()]
    champion = Classifier.load()
    before = champion.classify([row["text"] for row in held_out], [Kind.MESSAGE] * len(held_out))
    known = sum(
        a.predictions[INTENT].label == row["label"] for a, row in zip(before, held_out, strict=True)
    )
    assert known < len(held_out) / 2, "the champion knows the concept already; choose another"

    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        async with steady(settings) as stream:
            await taught(settings)
            usual = longest_gap(list((await sources(settings, STREAM)).values())[20:])
            done = await asyncio.to_thread(bellwether, settings, "trainer", "--once")
            print(done.stderr)
            said = done.stdout.splitlines()[-1]
            assert said.startswith("promoted "), said
            version = said.removeprefix("promoted ")
            seconds = await asyncio.to_thread(reached, worker, version)
            print(f"the worker serves {version} {seconds:.1f} s later")
            await publish(settings, records)
        await drained(settings, [STREAM], 60)

        stored = await sources(settings, STREAM)
        gap = longest_gap([stored[name] for name in stream.sent])
        print(f"longest gap between two batches: {gap:.3f} s, before the swap {usual:.3f} s")
        right = sum(stored[n]["intent"]["label"] == row["label"] for n, row in asked.items())
        print(f"{right} of {len(asked)} held-out sentences are right, {known} before")
        assert right >= LEAST_RIGHT * len(asked)
        assert {stored[name]["model_version"] for name in asked} == {version}

        found = await documents(settings, STREAM)
        assert set(found) == {*stream.sent, *asked, *(f"teach-{n}" for n in range(20))}
        assert set(found.values()) == {1}
        assert not await dead_letters(settings)

        old, new = (
            old_macro_f1(folder) for folder in (SHIPPED_BUNDLE, settings.home / "models" / version)
        )
        for task, figure in old.items():
            print(f"{task}: macro-F1 {figure:.4f} before, {new[task]:.4f} now")
            assert new[task] >= figure - LARGEST_LOSS

        bellwether(settings, "models", "rollback")
        seconds = await asyncio.to_thread(reached, worker, champion.version)
        print(f"rolled back {seconds:.1f} s after the command")
        again = await asyncio.to_thread(bellwether, settings, "trainer", "--once")
        assert again.stdout.startswith(f"refused: people rolled {version} back")
