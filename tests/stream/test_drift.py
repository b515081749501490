"""The drift watch: what it counts, its gauges, its documents on a real Elasticsearch, and a worker
that is told that a minute lasts a second."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from elasticsearch import AsyncElasticsearch

from models.bundle import SHIPPED_BUNDLE, Manifest, write_manifest
from models.classifier import Classifier
from ops.servers.ports import free_port
from schemas.predictions import Classification
from schemas.records import Kind
from schemas.taxonomy import BUILT_IN_TASKS, INTENT, SENTIMENT
from stream.clients import make_elasticsearch
from stream.drift import DriftWatch
from stream.indices import install_templates
from stream.metrics import Metrics
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import Worker, drained, environment, metric, publish, sources
from tests.servers import Servers

PROFIT = "Acme lifts its profit forecast after record sales"
LOST = "I lost my card yesterday, please block it"
JOKE = "Tell me a joke about bankers"
REFERENCE = {
    "texts": 1_000,
    "labels": {"negative": 0.5, "neutral": 0.5},
    "confidence": [0.0] * 9 + [1.0],
    "abstained": 0.0,
    "unknown_tokens": 0.0,
}
# A worker process whose minute is a second.
HASTY = """
from functools import partial
from stream import runtime, worker
from stream.settings import load_settings
runtime.Runtime = partial(runtime.Runtime, minute_seconds=1)
settings = load_settings()
worker._serve(settings, 0, 1, [settings.model], None)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle with a reference for one task, and for no other."""
    folder = tmp_path_factory.mktemp("bundles") / "watched"
    shutil.copytree(SHIPPED_BUNDLE, folder)
    raw = orjson.loads((folder / "manifest.json").read_bytes())
    raw["reference"] = {SENTIMENT: REFERENCE}
    write_manifest(folder, Manifest.model_validate(raw))
    return folder


@pytest.fixture(scope="module")
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle, threads=1)


@pytest.fixture(scope="module")
def answers(classifier: Classifier) -> list[Classification]:
    """About twelve texts: nine headlines and three messages."""
    kinds = [Kind.NEWS] * 9 + [Kind.MESSAGE] * 3
    return classifier.classify([*[PROFIT] * 9, LOST, LOST, JOKE], kinds)


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **servers.settings)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    client = make_elasticsearch(settings)
    yield client
    await client.close()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"bellwether_{name}", labels)


async def test_a_document_a_task_and_the_gauges(
    classifier: Classifier,
    answers: list[Classification],
    settings: Settings,
    client: AsyncElasticsearch,
) -> None:
    await install_templates(client, settings.prefix)
    metrics = Metrics()
    watch = DriftWatch(classifier, client, metrics, settings.prefix)
    watch.add(answers)
    watch.disagreed(INTENT, True)
    watch.disagreed(INTENT, False)
    watch.disagreed("message.unheard_of", True)
    assert 0 <= watch.seconds_left <= 60
    await watch.report()

    stored = await sources(settings, "drift")
    by_task = {document["task"]: document for document in stored.values()}
    assert len(stored) == len(by_task) == 4
    assert by_task.keys() == set(BUILT_IN_TASKS)
    of_sentiment, of_intent = by_task[SENTIMENT], by_task[INTENT]
    assert of_sentiment["texts"] == 9
    assert of_sentiment["labels"] == [
        {"label": "positive", "texts": 9, "share": 1.0, "reference": 0.0}
    ]
    assert of_sentiment["psi_labels"] > 0.25
    assert of_sentiment["model_version"] == classifier.version
    assert of_sentiment["at"].endswith(":00.000Z")
    assert of_intent["labels"][0] == {"label": "lost_or_stolen_card", "texts": 2, "share": 2 / 3}
    assert of_intent["abstained"] == pytest.approx(1 / 3, abs=1e-6)
    assert (of_intent["feedback"], of_intent["disagreement"]) == (2, 0.5)
    assert "psi_labels" not in of_intent
    assert "disagreement" not in of_sentiment

    assert value(metrics, "drift_psi", task=SENTIMENT, of="labels") == of_sentiment["psi_labels"]
    assert value(metrics, "drift_psi", task=INTENT, of="labels") is None
    assert value(metrics, "confidence_mean", task=INTENT) == of_intent["confidence_mean"]
    assert value(metrics, "abstained_ratio", task=INTENT) == of_intent["abstained"]
    assert value(metrics, "unknown_tokens_ratio", kind="news") == 0
    assert value(metrics, "drift_documents_skipped_total") == 0


async def test_the_minute_is_written_once(
    classifier: Classifier,
    answers: list[Classification],
    settings: Settings,
    client: AsyncElasticsearch,
) -> None:
    """Two reports within a minute have one document a task, with the newer count."""
    await install_templates(client, settings.prefix)
    watch = DriftWatch(classifier, client, Metrics(), settings.prefix, minute_seconds=10**9)
    for _ in range(2):
        watch.add(answers[:9])
        await watch.report()
    stored = await sources(settings, "drift")
    assert sorted(document["texts"] for document in stored.values()) == [18, 18]


async def test_a_new_model_begins_anew(
    classifier: Classifier,
    answers: list[Classification],
    settings: Settings,
    client: AsyncElasticsearch,
) -> None:
    await install_templates(client, settings.prefix)
    metrics = Metrics()
    watch = DriftWatch(classifier, client, metrics, settings.prefix)
    watch.add(answers)
    await watch.report()
    successor = Classifier.load(threads=1)
    assert successor.version != classifier.version

    watch.renew(successor)
    assert value(metrics, "drift_psi", task=SENTIMENT, of="labels") is None
    watch.add(answers)  # of the old model, still under way
    watch.add(successor.classify([LOST], [Kind.MESSAGE]))
    await watch.report()

    stored = await sources(settings, "drift")
    of_successor = [d for d in stored.values() if d["model_version"] == successor.version]
    assert {document["task"]: document["texts"] for document in of_successor} == {
        INTENT: 1,
        "message.emotion": 1,
    }
    assert value(metrics, "confidence_mean", task=SENTIMENT) is None


async def test_nobody_waits_for_an_elasticsearch_that_is_away(
    classifier: Classifier, answers: list[Classification]
) -> None:
    away = AsyncElasticsearch(f"http://127.0.0.1:{free_port()}")
    metrics = Metrics()
    watch = DriftWatch(classifier, away, metrics, "")
    await watch.report()  # of nothing there is nothing to write
    assert value(metrics, "drift_documents_skipped_total") == 0
    watch.add(answers)
    started = time.monotonic()
    await watch.report()
    assert time.monotonic() - started < 10
    assert value(metrics, "drift_documents_skipped_total") == 4
    assert value(metrics, "confidence_mean", task=SENTIMENT) is not None
    await away.close()


async def test_what_the_index_refuses_is_skipped(
    classifier: Classifier,
    answers: list[Classification],
    settings: Settings,
    client: AsyncElasticsearch,
) -> None:
    await client.indices.put_index_template(
        name=settings.prefix,
        index_patterns=[f"{settings.prefix}drift-*"],
        priority=900,
        template={"mappings": {"dynamic": "strict", "properties": {"at": {"type": "date"}}}},
    )
    metrics = Metrics()
    watch = DriftWatch(classifier, client, metrics, settings.prefix)
    watch.add(answers)
    await watch.report()
    assert value(metrics, "drift_documents_skipped_total") == 4


class HastyWorker(Worker):
    """A worker process without a supervisor, whose minute is a second."""

    def start(self) -> Worker:
        given = environment(self.settings) | {"BELLWETHER_WEB_PORT": str(self.port)}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BELLWETHER_")}
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", HASTY],
                env=inherited | given,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self


async def test_a_worker_reports(settings: Settings, bundle: Path, tmp_path: Path) -> None:
    watched = settings.model_copy(update={"model": bundle})
    with HastyWorker(watched, tmp_path / "log") as worker:
        worker.wait_ready()
        headlines = [encoded(news(f"n{i}", PROFIT)) for i in range(20)]
        messages = [encoded(message(f"m{i}", LOST)) for i in range(5)]
        await publish(
            watched,
            [
                *(("financial-news", value) for value in headlines),
                *(("customer-messages", value) for value in messages),
            ],
        )
        await drained(watched, ("financial-news", "customer-messages"), 60)
        deadline = time.monotonic() + 30
        newest: dict[str, int] = {}
        while newest.get(SENTIMENT) != 20 or newest.get(INTENT) != 5:
            assert time.monotonic() < deadline, worker.tail()
            await asyncio.sleep(0.5)
            stored = await sources(watched, "drift")
            for document in sorted(stored.values(), key=lambda d: str(d["at"])):
                newest[document["task"]] = document["texts"]
        page = worker.get("/metrics")[1]
        assert metric(page, "bellwether_drift_psi", task=SENTIMENT, of="labels") > 0.25
        assert metric(page, "bellwether_confidence_mean", task=INTENT) > 0.5
        assert 'bellwether_unknown_tokens_ratio{kind="message"}' in page
        assert worker.terminate()[0] == 0
