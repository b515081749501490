"""The pipeline's own bounds, with a real Redis; its way with records stands in tests/end_to_end."""

import asyncio
from datetime import timedelta

import pytest
from elasticsearch import AsyncElasticsearch
from redis.asyncio import Redis

from ops.servers.ports import free_port
from stream import pipeline as pipelines
from stream.alert_store import AlertStore
from stream.classifiers import load_model
from stream.dead_letters import DeadLetterWriter
from stream.document_store import DocumentStore
from stream.drift import DriftWatch
from stream.metrics import Metrics
from stream.pipeline import Parts, Pipeline
from stream.settings import load_settings
from tests.stream.alert_events import START, burst

JUDGED = {"stage": "judge"}


async def test_resolutions_do_not_pile_up_while_elasticsearch_is_away(
    redis: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(namespace=namespace)
    store = AlertStore(redis, settings.prefix)
    raised = await store.judge(
        [burst(name, second) for second, name in enumerate("abc")], START + timedelta(seconds=3)
    )
    assert len(raised.fresh) == 1  # it is over by now, and offered as resolved until it is settled
    monkeypatch.setattr(pipelines, "IDLE_JUDGE_SECONDS", 0.01)
    away = AsyncElasticsearch(f"http://127.0.0.1:{free_port()}")
    metrics = Metrics()
    crashes: list[BaseException] = []
    model = load_model(None, settings, threads=1)
    parts = Parts(
        alerts=store,
        documents=DocumentStore(away, metrics.sink_retries.labels("elasticsearch").inc),
        dead_letters=DeadLetterWriter(settings, lambda: None),
        drift=DriftWatch(model.classifier, away, metrics, settings.prefix),
        metrics=metrics,
    )
    pipeline = Pipeline(settings, model, parts, crashes.append)
    pipeline.start()
    try:
        async with asyncio.timeout(30):
            while _calls(metrics) < 20:
                await asyncio.sleep(0.01)
        assert (await store.judge([], START + timedelta(days=1))).resolved
        assert pipeline._alerted.qsize() <= 1
    finally:
        await pipeline.stop()
        await away.close()
    assert not crashes


def _calls(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("bellwether_stage_seconds_count", JUDGED) or 0.0
