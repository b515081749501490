"""The worker and the doctor against servers that ask for TLS, users and passwords."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.servers import Elasticsearch, Kafka, Redis
from ops.servers.elasticsearch import User
from ops.servers.guard import Guard
from ops.servers.kafka import Sasl
from stream.settings import Settings, load_settings
from tests.certificates import make_tls
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import (
    Worker,
    alert_entries,
    dead_letters,
    documents,
    drained,
    environment,
    publish,
)
from tests.servers import install, running

TOPICS = ("financial-news", "customer-messages")
PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def access(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings that reach the three secured servers."""
    install()
    folder = tmp_path_factory.mktemp("secured")
    kafka_tls, redis_tls = make_tls(folder / "kafka-tls"), make_tls(folder / "redis-tls")
    elasticsearch_tls = make_tls(folder / "elasticsearch-tls")
    kafka = Kafka(folder / "kafka", tls=kafka_tls, sasl=Sasl("worker", PASSWORD))
    redis = Redis(folder / "redis", password=PASSWORD, tls=redis_tls)
    elasticsearch = Elasticsearch(
        folder / "elasticsearch",
        heap_mb=512,
        user=User("worker", PASSWORD),
        tls=elasticsearch_tls,
    )
    with running(guard, kafka, redis, elasticsearch):
        yield {
            "kafka": kafka.sasl_address,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
            "kafka_user": "worker",
            "kafka_password": PASSWORD,
            "kafka_ca_file": kafka_tls.authority,
            "redis": redis.tls_address,
            "redis_ca_file": redis_tls.authority,
            "elasticsearch": elasticsearch.address,
            "elasticsearch_user": "worker",
            "elasticsearch_password": PASSWORD,
            "elasticsearch_ca_file": elasticsearch_tls.authority,
        }


@pytest.fixture
def settings(access: dict[str, Any], namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **access)


def doctor(settings: Settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream", "doctor"],
        env={"PATH": "/usr/bin:/bin"} | environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_worker_passes_every_gate(
    access: dict[str, Any], namespace: str, tmp_path: Path, mechanism: str
) -> None:
    settings = load_settings(
        home=tmp_path, namespace=namespace, **access | {"kafka_sasl_mechanism": mechanism}
    )
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        stolen = "Someone stole my card and spent my money, block it now!"
        await publish(
            settings,
            [
                ("financial-news", encoded(news("n", "Acme reports record profit"))),
                ("customer-messages", encoded(message("m", stolen))),
                ("financial-news", b"broken"),
            ],
        )
        await drained(settings, TOPICS, 60)
        assert PASSWORD not in worker.log.read_text()
    assert set(await documents(settings, "financial-news")) == {"n"}
    assert set(await documents(settings, "customer-messages")) == {"m"}
    assert len(await dead_letters(settings)) == 1
    assert "m" in {alert.event_id for alert in await alert_entries(settings)}


def test_the_doctor_passes_every_gate(settings: Settings) -> None:
    subprocess.run(
        [sys.executable, "-m", "stream", "init"],
        env={"PATH": "/usr/bin:/bin"} | environment(settings),
        check=True,
        capture_output=True,
    )
    report = doctor(settings)
    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka_password": "wrong"}, "Kafka"),
        ({"kafka_ca_file": None}, "Kafka"),
        ({"elasticsearch_password": "wrong"}, "Elasticsearch"),
        ({"elasticsearch_ca_file": None}, "Elasticsearch"),
        ({"redis_ca_file": None}, "Redis"),
    ],
)
def test_the_doctor_names_the_gate_that_is_shut(
    access: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], named: str
) -> None:
    report = doctor(load_settings(home=tmp_path, **access | wrong))
    assert report.returncode == 1
    assert named in report.stdout
    assert PASSWORD not in report.stdout + report.stderr
    assert "Traceback" not in report.stderr
