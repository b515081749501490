"""Poison in the feedback does not move the champion, and the report of the run says why.

All of it comes to one worker as feedback, and the trainer runs as people run it. What stops which
poison, case by case, is tested in tests/models/test_lessons.py and test_gate.py.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.tracking import EXPERIMENT, connect
from models.version_files import REPORT
from models.versions import CANDIDATE, CHAMPION
from schemas.errors import Reason
from schemas.labels import LabelRecord
from schemas.taxonomy import SENTIMENT
from stream.champion import open_registry
from stream.labels import read_labels
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import DATA, encoded, needs_data, news, stamp
from tests.end_to_end.harness import (
    Raw,
    Worker,
    bellwether,
    dead_letters,
    drained,
    metric,
    publish,
    put_labels,
    sources,
)
from tests.servers import Servers

NEWS = "financial-news"
SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
LABELS = ("negative", "neutral", "positive")
# Headlines of which the champion is sure, and rightly; the last ones all name one company.
ROWS = list(map(json.loads, Path(__file__).with_name("headlines.jsonl").read_text().splitlines()))
OF_ALL = [row for row in ROWS if "entity" not in row]
OF_ONE_COMPANY = [row for row in ROWS if "entity" in row]
ANNOTATORS = ("ann", "bob", "cem")
TIMES = 10_000
FLOOD = 120


@pytest.fixture(scope="module")
def settings(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(
        home=tmp_path_factory.mktemp("home"),
        namespace=f"test-{uuid.uuid4().hex[:12]}",
        threads=1,
        trainer_threads=2,
        registry_seconds=0.5,
        **servers.settings,
    )


@pytest.fixture(scope="module")
def worker(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """It has seen the headlines."""
    with Worker(settings, tmp_path_factory.mktemp("worker") / "log") as worker:
        worker.wait_ready()
        asyncio.run(publish(settings, [headline(row["text"]) for row in ROWS]))
        asyncio.run(drained(settings, [NEWS], 60))
        yield worker


@dataclass(frozen=True)
class Run:
    """What a run of the trainer said on its way and last, and its report."""

    told: str
    last: str
    report: dict[str, Any]


def run(settings: Settings, *words: str) -> Run:
    started = time.monotonic()
    done = bellwether(settings, "trainer", "--once", *words)
    print(f"{done.stderr}{done.stdout}in {time.monotonic() - started:.0f} s")
    client = connect(settings.tracking)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment
    newest, *_ = client.search_runs([experiment.experiment_id])
    last = done.stdout.splitlines()[-1]
    assert newest.data.tags["decision"] == last
    file = client.download_artifacts(newest.info.run_id, REPORT)
    return Run(done.stderr, last, json.loads(Path(file).read_bytes()))


def headline(text: str) -> Raw:
    """An event whose id is its text."""
    return NEWS, encoded(news(text, text))


def said(event_id: str, label: str, annotator: str, **more: Any) -> Raw:
    """Feedback on a headline."""
    record = {
        "id": f"{annotator} on {event_id}",
        "event_id": event_id,
        "stream": NEWS,
        "task": SENTIMENT,
        "label": label,
        "annotator": annotator,
        "given_at": stamp(),
    }
    return "feedback", encoded(record | more)


def turned(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % len(LABELS)]


def of_no_task(text: str) -> LabelRecord:
    """As somebody may write it into the topic of labels himself."""
    return LabelRecord(
        task="news.weather",
        event_id=text,
        annotator="wes",
        stream="financial-news",
        label="rain",
        text=text,
        given_at=datetime.now(UTC),
        feedback_id="w",
    )


async def taken(settings: Settings, records: Sequence[Raw]) -> float:
    """The seconds until the worker is done with them."""
    started = time.monotonic()
    await publish(settings, records)
    await drained(settings, ["feedback"], 120)
    return time.monotonic() - started


async def assert_unmoved(settings: Settings, worker: Worker) -> None:
    """The shipped model serves as before."""
    assert open_registry(settings).alias(CHAMPION) is None
    await asyncio.sleep(3 * settings.registry_seconds)
    assert worker.serves() == {SHIPPED}
    text = f"Acme reports at {time.time()}"
    await publish(settings, [headline(text)])
    await drained(settings, [NEWS], 30)
    assert (await sources(settings, NEWS))[text]["model_version"] == SHIPPED


async def test_poison_is_set_aside_with_its_reason(settings: Settings, worker: Worker) -> None:
    flipped = [said(row["text"], turned(row["label"]), a) for row in OF_ALL for a in ANNOTATORS]
    flood = [
        said(f"flood {n}", "negative", "flo", text=f"{OF_ALL[n % 20]['text']}, part {n}")
        for n in range(FLOOD)
    ]
    of_company = [
        said(row["text"], "positive", "mal", entity=row["entity"]) for row in OF_ONE_COMPANY
    ]
    unknown = [said(row["text"], "rain", "wes", task="news.weather") for row in OF_ALL[:3]]
    once = said("rae's", "negative", "rae", text=OF_ALL[0]["text"])
    await taken(settings, [*flipped, *flood, *of_company, *unknown])
    seconds = await taken(settings, [once] * TIMES)
    print(f"one label {TIMES:,} times: {seconds:.1f} s, {TIMES / seconds:.0f} a second")

    useful = len(flipped) + len(flood) + len(of_company)
    page = worker.get("/metrics")[1]
    assert metric(page, "bellwether_feedback_total", task=SENTIMENT) >= useful + TIMES
    letters = (await dead_letters(settings)).values()
    assert [letter.reason for letter in letters] == [Reason.INVALID] * len(unknown)
    assert all("task: not one that is known" in letter.message for letter in letters)
    await put_labels(settings, [of_no_task("x")])
    labels = await read_labels(settings)
    assert len(labels.standing) == useful + 2
    assert {label.record.task for label in labels.standing} == {SENTIMENT, "news.weather"}

    found = await asyncio.to_thread(run, settings)
    assert found.last.startswith("refused: no label teaches the champion anything new; ")
    assert found.report["labels"] == {
        "standing": useful + 2,
        "repeated": labels.repeated,
        "unreadable": 0,
    }
    reasons: dict[str, set[str]] = {}
    for aside in found.report["resolution"]["implausible"]:
        reasons.setdefault(aside["annotator"], set()).add(aside["reason"])
    assert set(reasons) == {*ANNOTATORS, "flo", "mal", "rae", "wes"}
    for annotator in ANNOTATORS:
        assert all("flipped" in reason for reason in reasons[annotator])
    assert reasons["flo"] == {"flo gave more than 100 labels an hour"}
    assert all("mal alone" in reason for reason in reasons["mal"])
    assert all("rae alone" in reason for reason in reasons["rae"])
    assert reasons["wes"] == {"there is no task 'news.weather'"}
    assert all(reason in found.told for own in reasons.values() for reason in own)
    await assert_unmoved(settings, worker)


async def everything_is_bad(settings: Settings) -> None:
    """Three people who agree: what the champion is sure is good or neutral is bad news."""
    rows = [row for row in OF_ALL if row["label"] != "negative"]
    await taken(
        settings, [said(row["text"], "negative", f"bear {n}") for row in rows for n in "123"]
    )


def assert_refused_by_the_gate(settings: Settings, found: Run) -> None:
    gate = found.report["gate"]
    failed = [check["words"] for check in gate["checks"] if not check["passed"]]
    assert found.last == f"refused: {'; '.join(failed)}"
    registry = open_registry(settings)
    candidate = registry.find(CANDIDATE)
    assert candidate.decision == found.last
    assert registry.report(candidate) == found.report


@pytest.mark.long
async def test_what_looks_like_a_lesson_is_stopped_by_the_gate(
    settings: Settings, worker: Worker
) -> None:
    await everything_is_bad(settings)
    found = await asyncio.to_thread(run, settings, "--method", "heads")
    assert found.report["resolution"]["lessons"] == 40
    assert re.search(rf"{SENTIMENT}: \d+ golden texts gained, \d+ lost of", found.last)
    assert_refused_by_the_gate(settings, found)
    await assert_unmoved(settings, worker)


@needs_data
@pytest.mark.long
async def test_with_the_training_sets_the_gate_says_so_too(
    settings: Settings, worker: Worker
) -> None:
    await everything_is_bad(settings)
    beside_sets = settings.model_copy(update={"training_data": DATA})
    found = await asyncio.to_thread(run, beside_sets, "--method", "heads")
    assert_refused_by_the_gate(settings, found)
    await assert_unmoved(settings, worker)
