"""The demonstration: its arithmetic with plain values, and itself on real servers."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from aiokafka import TopicPartition

from ops.demo.drawing import bar, milliseconds
from ops.demo.expectations import Expectations, Holdings, mismatches, read_expectations
from ops.demo.figures import Figures, percentile
from ops.demo.guide import where_to_look
from ops.demo.racing import watched
from ops.demo.samples import EXPECTED, load_samples
from schemas.alerts import Alert, Severity, Status, alert_id, fingerprint
from schemas.errors import ConfigurationError, Reason
from stream.brokers import broker_admin
from stream.clients import make_elasticsearch, make_redis
from stream.settings import Settings, load_settings
from tests.servers import Servers

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
PLAIN = ("kafka", "elasticsearch", "namespace")
EXPECTATIONS = Expectations.model_validate(
    {
        "documents": {"financial-news": 2},
        "dead_letters": {"invalid": 1},
        "alerts": {
            "must": [{"rule": "bad-news", "event": "n1"}, {"rule": "bad-news", "event": "n2"}],
            "must_not": [{"event": "n3"}, {"rule": "bad-news", "event": "n4"}],
        },
    }
)


def alert(rule: str, *events: str) -> Alert:
    """One that the last of the events raised."""
    return Alert(
        id=alert_id(rule, "k", "financial-news", events[-1]),
        fingerprint=fingerprint(rule, "k"),
        rule=rule,
        severity=Severity.WARNING,
        status=Status.FIRING,
        stream="financial-news",
        event_id=events[-1],
        event_ids=events,
        key="k",
        reason="why",
        risk=0.5,
        count=len(events),
        event_time=NOW,
        raised_at=NOW,
        model_version="v",
    )


def held(
    documents: int = 2,
    letters: int = 1,
    alerts: tuple[Alert, ...] = (alert("bad-news", "n1", "n2"), alert("other", "n4")),
    without_document: tuple[str, ...] = (),
) -> Holdings:
    """What the servers may hold; by default just what is expected."""
    return Holdings(
        {"financial-news": documents}, {Reason.INVALID: letters}, alerts, without_document
    )


def test_servers_that_hold_what_is_expected_fit() -> None:
    assert mismatches(EXPECTATIONS, held()) == []


@pytest.mark.parametrize(
    ("holdings", "word"),
    [
        (held(documents=1), "documents in financial-news: 1 where 2 are expected"),
        (held(documents=3), "documents in financial-news: 3 where 2 are expected"),
        (held(letters=0), "dead letters: invalid: 0 where 1 are expected"),
        (
            Holdings({"financial-news": 2, "customer-messages": 1}, {Reason.INVALID: 1}, []),
            "documents in customer-messages: 1 where 0 are expected",
        ),
        (
            held(alerts=(alert("bad-news", "n1"),)),
            "n2 must be behind an alert of bad-news, but is not",
        ),
        (
            held(alerts=(alert("bad-news", "n1", "n2"), alert("other", "n3"))),
            "n3 is behind an alert of other, but must not be",
        ),
        (
            held(alerts=(alert("bad-news", "n4", "n1", "n2"),)),
            "n4 is behind an alert of bad-news, but must not be",
        ),
        (held(without_document=("a1",)), "alert a1 is in Redis, but not in Elasticsearch"),
    ],
)
def test_each_mismatch_is_told_in_words(holdings: Holdings, word: str) -> None:
    assert word in mismatches(EXPECTATIONS, holdings)


def test_a_file_that_expects_nothing_sensible_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "expected.json"
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_expectations(file)
    file.write_text('{"documents": {"financial-news": "many"}}')
    with pytest.raises(ConfigurationError, match=re.escape(str(file))):
        read_expectations(file)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.50) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) is None


def test_figures_know_how_far_the_worker_is() -> None:
    part = TopicPartition("t", 0)
    figures = Figures(ends={part: 300, TopicPartition("t", 1): 5}, committed={part: 100})
    assert figures.behind == 205
    for second, committed in enumerate([100, 150, 200, 300, 300], start=10):
        figures.committed = {part: committed}
        figures.note_progress(float(second))
    assert figures.rate == pytest.approx(50)


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "    "), (1, "████"), (0.5, "██  "), (0.01, "▏   "), (9, "████")]
)
def test_a_bar_is_as_long_as_its_share(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_latencies_read_well() -> None:
    assert [milliseconds(s) for s in (None, 0.0394, 1.26)] == ["-", "39 ms", "1.3 s"]


async def test_the_samples_are_moved_together_and_the_last_event_is_now() -> None:
    samples = await load_samples(load_settings(), play_seconds=10)
    records = {sample.record.id: sample for sample in samples if sample.record}
    expected = read_expectations(EXPECTED)
    assert len(records) == sum(expected.documents.values())
    assert sum(sample.record is None for sample in samples) == sum(expected.dead_letters.values())
    dues = [sample.due_seconds for sample in samples]
    assert dues == sorted(dues)
    assert dues[-1] == 10
    times = {id: sample.record.event_time for id, sample in records.items() if sample.record}
    assert abs(max(times.values()) - datetime.now(UTC)) < timedelta(seconds=15)
    news_to_message = times["nw-last"] - times["cm-last"]
    assert abs(news_to_message) < timedelta(minutes=2)
    due = records["nw-last"].due_seconds - records["cm-last"].due_seconds
    assert due == pytest.approx(news_to_message.total_seconds() * 10 / 7200, abs=0.1)


def test_what_is_to_be_pasted_holds_no_secret(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path,
        namespace="demo-20261122-060000",
        redis="redis://:geheim@127.0.0.1:1/0",
        elasticsearch_user="elastic",
        elasticsearch_password="geheim",
    )
    lines = list(where_to_look(settings, tmp_path, listening=True))
    assert "geheim" not in "\n".join(lines)
    assert '"$BELLWETHER_REDIS"' in "\n".join(lines)
    assert all(shlex.split(line, comments=True) is not None for line in lines)


async def test_a_watcher_that_fails_ends_the_work() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    async def watcher() -> None:
        raise ConfigurationError("gone")

    with pytest.raises(ConfigurationError, match="gone"):
        await watched(work(), watcher())
    assert cleaned == [True]


def test_the_demo_needs_the_base_install_only() -> None:
    # psutil is left out: OpenTelemetry, which MLflow brings, takes it where there is one.
    heavy = {"torch", "transformers", "sklearn", "onnx", "safetensors", "mlflow", "pytest"}
    program = f"import sys, ops.demo.__main__; print({heavy} & sys.modules.keys() or 'none')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "none"


# On real servers


def demo(home: Path, servers: Servers, *arguments: str) -> "subprocess.Popen[str]":
    """The demo with a home of its own, on the servers of the tests."""
    addresses = {f"BELLWETHER_{name.upper()}": at for name, at in servers.settings.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BELLWETHER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "ops.demo", *arguments],
        env={**inherited, **addresses, "BELLWETHER_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


@contextmanager
def playing(home: Path, servers: Servers) -> Iterator["subprocess.Popen[str]"]:
    """A demo in the middle of its first act; whatever happens, it is gone afterwards."""
    process = demo(home, servers)
    try:
        assert process.stdout
        said = iter(process.stdout.readline, "")
        assert any("dead letter" in line for line in said)
        yield process
    finally:
        process.kill()
        process.wait()


def worker_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def ended(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=5)[1]


def test_the_demo_shows_what_the_servers_hold_and_removes_it(
    tmp_path: Path, servers: Servers
) -> None:
    started = time.monotonic()
    process = demo(tmp_path, servers, "--once")
    output, _ = process.communicate(timeout=150)
    seconds = time.monotonic() - started
    print(f"{output}\nthe demo took {seconds:.0f} s")
    assert process.returncode == 0
    for word in ("dead letter", "critical", "p99", "The servers hold what is expected"):
        assert word in output
    (namespace,) = set(re.findall(r"demo-[0-9]{8}-[0-9]{6}", output))
    settings = load_settings(**servers.settings, namespace=namespace)
    for line in where_to_look(settings, tmp_path, listening=False):
        try_out(line, settings)
    removed = demo(tmp_path, servers, "--remove", namespace)
    assert removed.communicate(timeout=30)[0].startswith("removed 5 topics, ")
    assert asyncio.run(left(settings)) == []
    assert list((tmp_path / "demo").iterdir()) == []


def try_out(line: str, settings: Settings) -> None:
    """Do what a pasted line does; not every machine has curl."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["curl"]:
        with urllib.request.urlopen(words[-1]) as answer:
            assert len(json.load(answer)["hits"]["hits"]) == 3
    elif words[:1] == ["redis-cli"]:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert '"severity":"' in done.stdout
    elif line.endswith(" list"):
        given = {f"BELLWETHER_{name.upper()}": str(getattr(settings, name)) for name in PLAIN}
        environment = {**os.environ, **given, "BELLWETHER_REDIS": settings.redis.get_secret_value()}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert "critical" in done.stdout or "undecodable" in done.stdout


async def left(settings: Settings) -> list[str]:
    """Names of topics, indices and keys of a namespace."""
    async with broker_admin(settings) as admin:
        topics = [name for name in await admin.list_topics() if name.startswith(settings.prefix)]
    elasticsearch, redis = make_elasticsearch(settings), make_redis(settings)
    try:
        indices = await elasticsearch.indices.get(index=f"{settings.prefix}*")
        keys = [key.decode() async for key in redis.scan_iter(f"{settings.prefix}*")]
    finally:
        await elasticsearch.close()
        await redis.aclose()
    return [*topics, *indices.body, *keys]


def test_ctrl_c_ends_the_worker_too(tmp_path: Path, servers: Servers) -> None:
    with playing(tmp_path, servers) as process:
        worker = worker_of(process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=40)
    assert process.returncode == 130
    assert ended(worker)
    assert "make down" in output
    assert "Traceback" not in output


def test_a_worker_that_dies_ends_the_demo_in_plain_words(tmp_path: Path, servers: Servers) -> None:
    with playing(tmp_path, servers) as process:
        worker = worker_of(process)
        worker[0].kill()
        output, _ = process.communicate(timeout=40)
    assert process.returncode == 1
    assert ended(worker)
    assert "The worker was killed by signal 9" in output
    assert "Traceback" not in output


def test_only_a_demo_can_be_removed(tmp_path: Path, servers: Servers) -> None:
    process = demo(tmp_path, servers, "--remove", "production")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "is no demo" in output
