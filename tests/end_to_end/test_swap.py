"""A model is registered, promoted and put back while a worker works, on real servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from models.bundle import SHIPPED_BUNDLE, Bundle
from ops.servers.guard import Guard
from stream.champion import open_registry
from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import encoded, message, news
from tests.end_to_end.harness import (
    Worker,
    bellwether,
    dead_letters,
    documents,
    drained,
    metric,
    publish,
    sources,
)
from tests.mlflow_server import Mlflow
from tests.models.small_bundle import another_bundle
from tests.servers import Servers, running

TOPICS = ("financial-news", "customer-messages")
SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
TAKEN_SECONDS = 10.0


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", namespace=namespace, **servers.settings)


class Traffic:
    """Events of both kinds without a pause, each with an id of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sent = 0

    async def send(self, count: int) -> None:
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        await publish(
            self._settings,
            [
                record
                for i in numbers
                for record in (
                    (TOPICS[0], encoded(news(f"n{i}", f"Acme cuts its outlook by {i} percent"))),
                    (TOPICS[1], encoded(message(f"m{i}", f"My card {i} was stolen"))),
                )
            ],
        )

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        done = asyncio.Event()

        async def flow() -> None:
            while not done.is_set():
                await self.send(20)
                await asyncio.sleep(0.2)

        task = asyncio.create_task(flow())
        yield
        done.set()
        await task


async def until_served(workers: Iterable[Worker], version: str, seconds: float) -> float:
    """Waits until all serve a version and no other; how long it took."""
    started = time.monotonic()
    while not all(worker.serves() == {version} for worker in workers):
        waited = time.monotonic() - started
        assert waited < seconds, [worker.tail() for worker in workers]
        await asyncio.sleep(0.1)
    return time.monotonic() - started


async def versions(settings: Settings, numbers: Iterable[int]) -> set[str]:
    """Who judged the events of these numbers."""
    found = {alias: await sources(settings, alias) for alias in TOPICS}
    return {
        str(found[alias][f"{letter}{number}"]["model_version"])
        for number in numbers
        for alias, letter in zip(TOPICS, "nm", strict=True)
    }


async def test_a_promotion_and_the_way_back_under_load(settings: Settings, tmp_path: Path) -> None:
    bundle = another_bundle(SHIPPED_BUNDLE, tmp_path / "bundle", 1)
    other = Bundle.open(bundle).version
    traffic = Traffic(settings)
    with Worker(settings, tmp_path / "log", processes=2) as worker:
        second = Worker(settings, tmp_path / "log", port=worker.port + 1, popen=worker.popen)
        both = (worker.wait_ready(), second.wait_ready())
        before = {child.pid for child in psutil.Process(worker.pid).children()}
        await traffic.send(50)
        await drained(settings, TOPICS, 60)
        said = await asyncio.to_thread(bellwether, settings, "models", "register", bundle)
        assert said.stdout.startswith(f"registered {other};")
        async with traffic.flowing():
            await asyncio.to_thread(bellwether, settings, "models", "promote", other[:6])
            taken = await until_served(both, other, TAKEN_SECONDS)
            promoted_at = traffic.sent
            await asyncio.sleep(1)
            await asyncio.to_thread(bellwether, settings, "models", "rollback")
            back = await until_served(both, SHIPPED, TAKEN_SECONDS)
            rolled_back_at = traffic.sent
            await asyncio.sleep(1)
        await drained(settings, TOPICS, 60)
        print(f"taken after {taken:.1f} s, put back after {back:.1f} s")

        assert await versions(settings, range(50)) == {SHIPPED}
        assert await versions(settings, range(promoted_at, promoted_at + 20)) == {other}
        last = range(rolled_back_at, traffic.sent)
        assert last
        assert await versions(settings, last) == {SHIPPED}
        for alias, letter in zip(TOPICS, "nm", strict=True):
            expected = {f"{letter}{number}": 1 for number in range(traffic.sent)}
            assert await documents(settings, alias) == expected
        assert await dead_letters(settings) == {}
        assert before <= {child.pid for child in psutil.Process(worker.pid).children()}
        for each in both:
            page = each.get("/metrics")[1]
            assert metric(page, "bellwether_swap_seconds_count") == 2
            assert metric(page, "bellwether_model_refused_total") == 0


@pytest.mark.long
async def test_a_damaged_champion_leaves_the_old_one_working(
    settings: Settings, tmp_path: Path
) -> None:
    registry = open_registry(settings)
    other = registry.register(another_bundle(SHIPPED_BUNDLE, tmp_path / "bundle", 1))
    (graph,) = settings.registered_files.rglob("stage-1.onnx")
    graph.write_bytes(graph.read_bytes()[:-1])
    traffic = Traffic(settings)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        registry.promote(other)
        deadline = time.monotonic() + 30
        while not metric(worker.get("/metrics")[1], "bellwether_model_refused_total"):
            assert time.monotonic() < deadline, worker.tail()
            await asyncio.sleep(0.2)
        await traffic.send(20)
        await drained(settings, TOPICS, 60)
        assert await versions(settings, range(20)) == {SHIPPED}
        assert worker.serves() == {SHIPPED}
        assert worker.tail().count(f"champion {other.name} is refused") == 1
        # A process that dies begins again with what worked.
        for child in psutil.Process(worker.pid).children():
            child.kill()
        await asyncio.sleep(1)
        worker.wait_ready()
        assert worker.serves() == {SHIPPED}
        registry.rollback()
        code, _ = worker.terminate()
        assert code == 0


def test_a_champion_that_is_needed_and_not_there_is_told(
    settings: Settings, tmp_path: Path
) -> None:
    needs = settings.model_copy(update={"model": Path("champion")})
    with Worker(needs, tmp_path / "log") as worker:
        assert worker.popen is not None
        assert worker.popen.wait(60) == 2
        assert "there is no champion in the registry yet" in worker.tail()
        assert "Traceback" not in worker.tail()


async def test_a_worker_begins_with_the_champion_and_waits_for_the_registry(
    settings: Settings, tmp_path: Path
) -> None:
    registry = open_registry(settings)
    other = registry.register(another_bundle(SHIPPED_BUNDLE, tmp_path / "bundle", 1))
    registry.promote(other)
    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        assert worker.serves() == {other.name}
    away = settings.model_copy(update={"registry": "http://127.0.0.1:9"})
    with Worker(away, tmp_path / "away") as worker:
        deadline = time.monotonic() + 60
        while "the registry cannot be used" not in worker.tail():
            assert time.monotonic() < deadline, worker.tail()
            await asyncio.sleep(0.2)
        code, seconds = worker.terminate()
        assert (code, seconds < 20) == (0, True), worker.tail()


async def until_up(worker: Worker, up: float) -> float:
    """Waits until a worker says that of its registry; how long it took."""
    started = time.monotonic()
    while f"bellwether_registry_up {up}" not in worker.get("/metrics")[1]:
        assert time.monotonic() - started < 2 * TAKEN_SECONDS, worker.tail()
        await asyncio.sleep(0.1)
    return time.monotonic() - started


@pytest.mark.long
async def test_a_worker_outlives_the_server_of_its_registry(
    settings: Settings, guard: Guard, tmp_path: Path
) -> None:
    server = Mlflow(tmp_path / "mlflow")
    shared = settings.model_copy(update={"registry": server.address})
    registry, traffic = open_registry(shared), Traffic(shared)
    other = another_bundle(SHIPPED_BUNDLE, tmp_path / "bundle", 1)
    with Worker(shared, tmp_path / "log") as worker:
        deadline = time.monotonic() + 60
        while "the registry cannot be used" not in worker.tail():
            assert time.monotonic() < deadline, worker.tail()
            await asyncio.sleep(0.2)
        with running(guard, server):
            worker.wait_ready()
            server.kill()
            away = await until_up(worker, 0.0)
            await traffic.send(20)
            await drained(shared, TOPICS, 60)
            assert await versions(shared, range(20)) == {SHIPPED}
            server.start()
            server.wait_ready()
            back = await until_up(worker, 1.0)
            version = await asyncio.to_thread(registry.register, other)
            await asyncio.to_thread(registry.promote, version)
            taken = await until_served([worker], version.name, TAKEN_SECONDS)
            print(f"away after {away:.1f} s, back after {back:.1f} s, taken after {taken:.1f} s")
            log = worker.log.read_text()
            assert log.count("the registry cannot be used") == 2
            assert log.count("the registry answers again") == 2
            assert "Retrying" not in log
            assert worker.terminate()[0] == 0
