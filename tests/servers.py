"""Servers that tests start for themselves: free ports, a temporary folder, ended at the end."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.servers import Elasticsearch, Kafka, Redis, Server, distributions, system
from ops.servers.guard import Guard

TEST_HEAP_MB = 512


class Servers:
    """The three servers that the tests of one session share; each starts when first asked for.

    A test that kills or stops a server starts its own with running().
    """

    def __init__(self, folder: Path, guard: Guard) -> None:
        self._guard = guard
        self._kafka = Kafka(folder / "kafka", heap_mb=TEST_HEAP_MB)
        self._redis = Redis(folder / "redis")
        self._elasticsearch = Elasticsearch(folder / "elasticsearch", heap_mb=TEST_HEAP_MB)

    @property
    def kafka(self) -> Kafka:
        self._ensure(self._kafka)
        return self._kafka

    @property
    def redis(self) -> Redis:
        self._ensure(self._redis)
        return self._redis

    @property
    def elasticsearch(self) -> Elasticsearch:
        self._ensure(self._elasticsearch)
        return self._elasticsearch

    @property
    def settings(self) -> dict[str, str]:
        """All three, as keyword arguments of stream.settings.load_settings()."""
        self._ensure(self._kafka, self._redis, self._elasticsearch)
        return {
            "kafka": self._kafka.address,
            "redis": self._redis.address,
            "elasticsearch": self._elasticsearch.address,
        }

    def close(self) -> None:
        """End what was started."""
        for server in (self._kafka, self._redis, self._elasticsearch):
            _end(server)

    def _ensure(self, *servers: Server) -> None:
        fresh = [server for server in servers if not server.running]
        for server in fresh:
            _start(server, self._guard)
        for server in fresh:
            server.wait_ready()


@contextmanager
def running(guard: Guard, *servers: Server) -> Iterator[None]:
    """Start servers of a test's own, wait until they answer, and end them afterwards."""
    try:
        for server in servers:
            _start(server, guard)
        for server in servers:
            server.wait_ready()
        yield
    finally:
        for server in servers:
            _end(server)


def install() -> None:
    """Install what the servers need, one process of tests for all; raises ServerError."""
    with distributions.lock("tests"):
        system.require("java", "mvn", "redis-server", "setpriv")
    distributions.installed()


def _start(server: Server, guard: Guard) -> None:
    guard.watch(server.folder)
    server.start()


def _end(server: Server) -> None:
    server.kill()
    shutil.rmtree(server.folder, ignore_errors=True)
