"""A process that looks at the registry for all workers of a host, and fetches new champions.

MLflow costs 140 MB and three seconds of a core: once a host here, instead of once a worker, where
its import would also hold up the batches. What it sees it tells the supervisor, which tells the
workers.
"""

import logging
import os
import signal
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

from models.registry import Registry
from models.versions import CHAMPION
from schemas.errors import BundleError, ConfigurationError
from stream.champion import open_registry
from stream.process import die_with, set_up_logging
from stream.retry import Patience
from stream.settings import Settings

logger = logging.getLogger(__name__)

RESTART_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Champion:
    """A champion whose bundle was fetched and verified."""

    version: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of the registry.

    looked: whether it has answered at least once, with a champion's files where it has one.
    up: whether it answers now.
    champion: the newest that could be fetched; None where there was none.
    refused: how often the files of a champion could not be had or were damaged.
    complaint: why the newest champion is not `champion`; empty where it is.
    """

    looked: bool = False
    up: bool = True
    champion: Champion | None = None
    refused: int = 0
    complaint: str = ""


class Watch:
    """Looks at the champion; what cannot be fetched is tried again after growing pauses."""

    def __init__(self, registry: Registry, cache: Path) -> None:
        self._registry = registry
        self._cache = cache
        self._patience = Patience()
        self.sighting = Sighting()

    def look(self) -> Sighting:
        """What is known after another look. A change for the worse is logged once."""
        try:
            seen = self._seen()
        except ConfigurationError as error:
            if self.sighting.up:
                logger.warning("the registry cannot be used; the model stays: %s", error)
            return self._know(up=False)
        if not self.sighting.up:
            logger.info("the registry answers again")
        return self._know(looked=True, up=True, **seen)

    def _seen(self) -> dict[str, object]:
        """What has changed. Raises ConfigurationError where the registry goes away meanwhile."""
        version = self._registry.alias(CHAMPION)
        known = self.sighting.champion
        if version is None or (known and known.version == version.name):
            return {"complaint": ""}
        if not self._patience.is_due(version.name):
            return {}
        try:
            folder = self._registry.fetch(version, self._cache)
        except BundleError as error:
            if self._patience.failed(version.name):
                logger.error("champion %s is refused; the model stays: %s", version.name, error)
            return {"refused": self.sighting.refused + 1, "complaint": str(error)}
        return {"champion": Champion(version.name, folder), "complaint": ""}

    def _know(self, **changes: object) -> Sighting:
        self.sighting = replace(self.sighting, **changes)  # type: ignore[arg-type]
        return self.sighting


def watch(settings: Settings, supervisor: int, connection: Connection) -> None:
    """Be the watching process: look, and tell whatever changes.

    Ends when the registry's file was replaced or has gone: only a new process opens another.
    """
    die_with(supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends it
    set_up_logging(settings)
    registry = open_registry(settings)
    registry_watch, opened = Watch(registry, settings.fetched_models), registry.file
    told = None
    while registry.file == opened:
        if (sighting := registry_watch.look()) != told:
            connection.send(sighting)
            told = sighting
        time.sleep(settings.registry_seconds)
    logger.warning("the registry's file was replaced or has gone; the model stays meanwhile")


class Watcher:
    """The watching process as its supervisor sees it, which keeps it alive by `tend`.

    Without a registry there is none: it starts when a registry may exist.
    """

    def __init__(self, settings: Settings, context: SpawnContext) -> None:
        self._settings = settings
        self._registry = open_registry(settings)
        self._context = context
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._start_at = 0.0
        self.sighting = Sighting()

    @property
    def is_needed(self) -> bool:
        """Whether there may be a registry to look at."""
        return self._registry.may_exist

    def tend(self) -> bool:
        """Start it, or start it again when it died; whether it has told something new."""
        now = time.monotonic()
        if self._process is None and self._start_at <= now and self.is_needed:
            self._start(now)
        before = self.sighting
        self._hear()
        return self.sighting != before

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _start(self, now: float) -> None:
        self._connection, child_end = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=watch, args=(self._settings, os.getpid(), child_end), name="bellwether-watcher"
        )
        self._process.start()
        child_end.close()
        self._start_at = now + RESTART_SECONDS

    def _hear(self) -> None:
        if self._process is None or self._connection is None:
            return
        try:
            while self._connection.poll():
                self._take(self._connection.recv())
        except EOFError:
            self._process.join()
            if self._process.exitcode:  # else it has said why
                logger.error("the registry's watcher ended with %s", self._process.exitcode)
            self._process = None
            self.sighting = replace(self.sighting, up=False)

    def _take(self, told: Sighting) -> None:
        """A watcher that was started again counts from zero, and may find the registry away."""
        known = self.sighting
        self.sighting = replace(
            told,
            looked=told.looked or known.looked,
            champion=told.champion or known.champion,
            refused=max(told.refused, known.refused),
        )
