"""Worker processes: supervision, signals, wrong configuration, servers that are not there yet."""

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from ops.servers import Redis, free_port
from ops.servers.guard import Guard
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, news
from tests.end_to_end.harness import Worker, documents, drained, publish
from tests.servers import Servers, running

TOPICS = ("financial-news", "customer-messages")


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **servers.settings)


def processes(worker: Worker) -> list[psutil.Process]:
    """The worker processes under the supervisor, without Python's own resource tracker."""
    return [
        child
        for child in psutil.Process(worker.pid).children()
        if "resource_tracker" not in " ".join(child.cmdline())
    ]


def gone(found: list[psutil.Process], seconds: float = 5.0) -> bool:
    return not psutil.wait_procs(found, timeout=seconds)[1]


async def test_a_process_that_dies_is_started_again(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "log", processes=2) as worker:
        second = Worker(settings, tmp_path / "log", port=worker.port + 1)
        second.popen = worker.popen
        worker.wait_ready()
        second.wait_ready()
        before = processes(worker)
        assert len(before) == 2
        before[0].kill()
        assert gone(before[:1])
        deadline = time.monotonic() + 60
        while len(processes(worker)) < 2 or not (worker.wait_ready() and second.wait_ready()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        await publish(
            settings, [("financial-news", encoded(news(f"n{i}", "Acme rises"))) for i in range(50)]
        )
        await drained(settings, TOPICS, 60)
        assert len(await documents(settings, "financial-news")) == 50
        code, seconds = worker.terminate()
        assert (code, seconds < 20) == (0, True)


def test_a_third_worker_gets_a_share_of_four_partitions(settings: Settings, tmp_path: Path) -> None:
    """Also when the two before it hold two each."""
    with Worker(settings, tmp_path / "log", processes=2) as two:
        Worker(settings, two.log, port=two.port + 1, popen=two.popen).wait_ready()
        two.wait_ready()
        with Worker(settings, tmp_path / "third.log") as third:
            third.wait_ready()


def test_processes_die_with_their_supervisor(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "log", processes=2) as worker:
        worker.wait_ready()
        children = processes(worker)
        assert len(children) == 2
        worker.kill()
        assert gone(children)


def test_a_wrong_rules_file_ends_with_2_and_names_the_line(
    settings: Settings, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- name: broken\n  kind: news\n  when: {sentiment: sad}\n")
    wrong = settings.model_copy(update={"rules": rules})
    with Worker(wrong, tmp_path / "log") as worker:
        assert worker.popen is not None
        assert worker.popen.wait(30) == 2
        assert f"{rules}:" in worker.tail()
        assert "Traceback" not in worker.tail()


def test_a_taken_port_ends_with_2(settings: Settings, tmp_path: Path) -> None:
    with Worker(settings, tmp_path / "one") as first:
        first.wait_ready()
        with Worker(settings, tmp_path / "two", port=first.port) as second:
            assert second.popen is not None
            assert second.popen.wait(30) == 2
            assert "BELLWETHER_WEB_PORT" in second.tail()


def test_sigterm_while_no_server_is_there(tmp_path: Path) -> None:
    nowhere = {
        "kafka": f"127.0.0.1:{free_port()}",
        "redis": f"redis://127.0.0.1:{free_port()}/0",
        "elasticsearch": f"http://127.0.0.1:{free_port()}",
    }
    with Worker(load_settings(home=tmp_path, **nowhere), tmp_path / "log") as worker:
        deadline = time.monotonic() + 60
        while "waiting: Kafka" not in worker.tail():
            assert time.monotonic() < deadline, worker.tail()
            time.sleep(0.2)
        assert worker.get("/live")[0] == 200
        assert worker.get("/ready")[0] == 503
        code, seconds = worker.terminate()
        assert (code, seconds < 20) == (0, True), worker.tail()


async def test_a_worker_waits_for_a_server_that_comes_later(
    servers: Servers, guard: Guard, namespace: str, tmp_path: Path
) -> None:
    redis = Redis(tmp_path / "redis")
    settings = load_settings(
        home=tmp_path, namespace=namespace, **servers.settings | {"redis": redis.address}
    )
    with Worker(settings, tmp_path / "log") as worker:
        deadline = time.monotonic() + 60
        while '"partitions": true' not in worker.get("/ready")[1]:
            assert time.monotonic() < deadline, worker.tail()
            await asyncio.sleep(0.2)
        await publish(settings, [("financial-news", encoded(news("patient", "Acme rises")))])
        await asyncio.sleep(2)
        assert await documents(settings, "financial-news") == {}
        with running(guard, redis):
            worker.wait_ready()
            await drained(settings, TOPICS, 60)
            assert set(await documents(settings, "financial-news")) == {"patient"}
            # Without Redis in the end it still leaves in order.
            redis.kill()
            code, seconds = worker.terminate()
            assert (code, seconds < 20) == (0, True)
