"""From a file of labelled texts to documents with a task of one's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from models.classifier import Classifier
from stream.clients import make_elasticsearch
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import Worker, drained, environment, publish, sources
from tests.models.own_texts import URGENCY, own_texts, write_texts
from tests.models.small_bundle import write_bundle
from tests.models.small_data import write_data
from tests.models.small_encoder import write_encoder
from tests.servers import Servers

TOPICS = ("financial-news", "customer-messages")
OWN = "message.urgency"


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **servers.settings)


def train(settings: Settings, *options: str | Path) -> str:
    """`bellwether train`; gives what it says last."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", "train", "--threads", "1", *map(str, options)],
        env={"PATH": "", **environment(settings)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


async def test_documents_have_the_answers_of_own_tasks(settings: Settings, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    parent = write_bundle(tmp_path, write_data(tmp_path / "data"), encoder)
    data = write_texts(tmp_path / "urgency.jsonl", URGENCY, {"high": 60, "low": 60})
    options = ("--bundle", parent, "--data", data)
    said = train(settings, "--add-task", "urgency", "--kind", "message", *options)
    bundle = settings.home / "bundles" / OWN
    assert said == f"to use it: BELLWETHER_MODEL={bundle} bellwether worker"

    texts = {
        f"{label}{number}": text
        for label, letters in URGENCY.items()
        for number, text in enumerate(own_texts(letters, 10, seed=1))
    }
    records = [("customer-messages", encoded(message(name, text))) for name, text in texts.items()]
    headline = ("financial-news", encoded(news("n", "Acme rises")))
    own = settings.model_copy(update={"model": bundle})
    with Worker(own, tmp_path / "log") as worker:
        worker.wait_ready()
        await publish(own, [*records, headline])
        await drained(own, TOPICS, 60)

    answers = dict(zip(texts, asked(bundle, list(texts.values())), strict=True))
    documents = await sources(own, "customer-messages")
    assert {name: document["tasks"] for name, document in documents.items()} == answers
    assert sum(name.startswith(str(answers[name][0]["label"])) for name in texts) >= 18
    assert "tasks" not in (await sources(own, "financial-news"))["n"]
    for label in URGENCY:
        expected = {name for name in texts if answers[name][0]["label"] == label}
        assert await found(own, OWN, label) == expected
    assert await found(own, "message.other", "high") == set()


def asked(bundle: Path, texts: list[str]) -> list[list[dict[str, object]]]:
    """What the documents are to say."""
    classifier = Classifier.load(bundle, threads=1)
    kind = classifier.taxonomy.tasks[OWN].kind
    predictions = [a.predictions[OWN] for a in classifier.classify(texts, [kind] * len(texts))]
    return [[{"task": OWN, "label": p.label, "confidence": p.confidence}] for p in predictions]


async def found(settings: Settings, task: str, label: str) -> set[str]:
    """The ids of the documents that a search for one label of one task finds."""
    both = [{"term": {"tasks.task": task}}, {"term": {"tasks.label": label}}]
    query = {"nested": {"path": "tasks", "query": {"bool": {"filter": both}}}}
    client = make_elasticsearch(settings)
    try:
        answer = await client.search(
            index=f"{settings.prefix}customer-messages", query=query, size=50
        )
    finally:
        await client.close()
    return {hit["_id"] for hit in answer["hits"]["hits"]}
