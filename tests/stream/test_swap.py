"""A worker's model is changed while it works; its way on real servers stands in end_to_end."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch
from redis.asyncio import Redis

from models.bundle import MANIFEST, SHIPPED_BUNDLE, TAXONOMY, Bundle, Manifest, write_manifest
from stream.alert_store import AlertStore
from stream.classifiers import load_model
from stream.dead_letters import DeadLetterWriter
from stream.document_store import DocumentStore
from stream.drift import DriftWatch
from stream.metrics import Metrics
from stream.pipeline import Parts, Pipeline
from stream.settings import Settings, load_settings
from stream.swap import Swapper
from stream.watcher import Champion, Sighting
from tests.models.small_bundle import another_bundle

SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
RULE = """
- name: results
  kind: news
  when: {topic: LABEL}
  key: event_id
  severity: info
  reason: "{headline}"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def pipeline(settings: Settings, metrics: Metrics) -> Pipeline:
    """With the shipped model; it is not started, so no server is needed."""
    model, away = load_model(None, settings, threads=1), AsyncElasticsearch("http://127.0.0.1:9")
    parts = Parts(
        alerts=AlertStore(Redis(), settings.prefix),
        documents=DocumentStore(away, lambda: None),
        dead_letters=DeadLetterWriter(settings, lambda: None),
        drift=DriftWatch(model.classifier, away, metrics, settings.prefix),
        metrics=metrics,
    )
    return Pipeline(settings, model, parts, lambda _: None)


@contextmanager
def following(settings: Settings, pipeline: Pipeline, metrics: Metrics) -> Iterator[Connection]:
    """A swapper at work; gives the supervisor's end of its pipe."""
    hears, tells = Pipe(duplex=False)
    swapper = Swapper(pipeline, metrics, partial(load_model, settings=settings, threads=1), hears)
    task = asyncio.create_task(swapper.follow())
    yield tells
    assert not task.done()
    task.cancel()


def champion(folder: Path) -> Champion:
    return Champion(Bundle.open(folder).version, folder)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"bellwether_{name}", labels)


async def until_refused(metrics: Metrics, times: int) -> None:
    async with asyncio.timeout(60):
        while value(metrics, "model_refused_total") != times:
            await asyncio.sleep(0.05)


def renamed_label(folder: Path, old: str, new: str) -> Path:
    """The shipped bundle with another name for one label of news.topic."""
    another_bundle(SHIPPED_BUNDLE, folder, 1)
    for name in (TAXONOMY, MANIFEST, "probes.jsonl"):
        file = folder / name
        file.write_text(file.read_text().replace(old, new))
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    write_manifest(folder, manifest)
    return folder


async def test_a_new_champion_serves_and_the_old_model_is_freed(
    settings: Settings, pipeline: Pipeline, metrics: Metrics, tmp_path: Path
) -> None:
    other = champion(another_bundle(SHIPPED_BUNDLE, tmp_path / "other", 1))
    old = weakref.ref(pipeline.classifier)
    with following(settings, pipeline, metrics) as supervisor:
        supervisor.send(Sighting(looked=True, champion=other))
        async with asyncio.timeout(60):
            while pipeline.model.version == SHIPPED:
                await asyncio.sleep(0.05)
    assert pipeline.classifier.version == other.version
    assert value(metrics, "model_info", version=other.version) == 1
    assert value(metrics, "model_info", version=SHIPPED) is None
    assert value(metrics, "swap_seconds_count") == 1
    assert value(metrics, "model_refused_total") == 0
    gc.collect()
    assert old() is None


async def test_a_bundle_without_the_labels_of_the_rules_is_refused_in_one_line(
    settings: Settings,
    pipeline: Pipeline,
    metrics: Metrics,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    label = pipeline.classifier.taxonomy.tasks["news.topic"].labels[0]
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE.replace("LABEL", label))
    other = champion(renamed_label(tmp_path / "other", label, f"{label}_renamed"))
    own = settings.model_copy(update={"rules": rules})
    with caplog.at_level(logging.INFO, "stream"), following(own, pipeline, metrics) as supervisor:
        supervisor.send(Sighting(looked=True, champion=other))
        await until_refused(metrics, 1)
        await asyncio.sleep(1)
    assert pipeline.model.version == SHIPPED
    assert value(metrics, "model_refused_total") == 1
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"champion {other.version} is refused, {SHIPPED} stays: ")
    assert f"{label!r} is not a label of news.topic" in line


async def test_what_cannot_be_loaded_leaves_the_old_model_until_the_alias_moves(
    settings: Settings, pipeline: Pipeline, metrics: Metrics, tmp_path: Path
) -> None:
    broken = another_bundle(SHIPPED_BUNDLE, tmp_path / "broken", 1)
    version = Bundle.open(broken).version
    (broken / "stage-1.onnx").write_bytes(b"")
    good = champion(another_bundle(SHIPPED_BUNDLE, tmp_path / "good", 2))
    with following(settings, pipeline, metrics) as supervisor:
        supervisor.send(Sighting(looked=True, champion=Champion(version, broken)))
        await until_refused(metrics, 1)
        assert pipeline.model.version == SHIPPED
        supervisor.send(Sighting(looked=True, champion=good))
        async with asyncio.timeout(60):
            while pipeline.model.version != good.version:
                await asyncio.sleep(0.05)


async def test_what_the_watcher_sees_is_measured(
    settings: Settings, pipeline: Pipeline, metrics: Metrics
) -> None:
    assert value(metrics, "registry_up") == 1
    with following(settings, pipeline, metrics) as supervisor:
        supervisor.send(Sighting(up=False, refused=2))
        await until_refused(metrics, 2)
        assert value(metrics, "registry_up") == 0
        supervisor.send(Sighting(looked=True, refused=3))
        await until_refused(metrics, 3)
        assert value(metrics, "registry_up") == 1
    assert pipeline.model.version == SHIPPED
