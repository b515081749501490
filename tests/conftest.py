"""Fixtures that every test may ask for."""

import uuid
from collections.abc import Iterator

import pytest

from ops.servers.guard import Guard
from tests.servers import Servers, install


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Kills the servers it watches, also when pytest itself is killed."""
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[Servers]:
    """Kafka, Redis and Elasticsearch for the whole session; started when first used."""
    install()
    servers = Servers(tmp_path_factory.mktemp("servers"), guard)
    yield servers
    servers.close()


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
