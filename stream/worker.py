"""Worker processes: one runs the service, a supervisor keeps as many as asked for alive.

The supervisor spawns (never forks: threads of the model would not survive it) and starts a
process that died again after growing pauses. A worker process dies with its supervisor, also when
that is killed, so nobody is left behind on the partitions. Where the registry is followed, it tells
its processes what the watcher sees.
"""

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from models.bundle import taxonomy_of
from schemas.errors import BellwetherError, BundleError, ConfigurationError
from schemas.sources import load_sources
from stream.champion import NO_CHAMPION, follows_registry, needs_champion
from stream.process import die_with, set_up_logging
from stream.settings import Settings
from stream.watcher import Sighting, Watcher

if TYPE_CHECKING:
    from stream.classifiers import Model

logger = logging.getLogger(__name__)

DONE, FAILED, WRONG_USAGE = 0, 1, 2
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# A process that lived this long has earned a quick restart again.
HEALTHY_SECONDS = 60.0
STOP_SECONDS = 18.0
TEND_SECONDS = 0.2


def run(settings: Settings, processes: int = 1) -> int:
    """Run the service until SIGTERM or SIGINT; return the exit code.

    0 after a signal, also while a sink or the registry is away; 2 when the configuration is wrong,
    1 when the model cannot be loaded. Raises ConfigurationError for files that can be checked
    beforehand, and BundleError where there is no bundle.
    """
    set_up_logging(settings)
    return Supervisor(settings, processes).run()


def _check(settings: Settings, folder: Path | None, processes: int) -> None:
    """Find what is wrong with the files before a worker is spawned; `folder` is the model's."""
    from stream.health import require_free_port
    from stream.risk import RiskModel
    from stream.rules import RuleBook

    taxonomy = taxonomy_of(folder, settings.taxonomy)
    load_sources(settings.sources)
    RuleBook.load(settings.rules, taxonomy)
    RiskModel.load(settings.risk, taxonomy)
    try:
        settings.faust_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"BELLWETHER_HOME: cannot make {settings.faust_folder}: {error.strerror}"
        ) from None
    for index in range(processes):
        require_free_port(_web_port(settings, index))


def _web_port(settings: Settings, index: int) -> int:
    return settings.web_port + index if settings.web_port else 0


@dataclass(slots=True)
class Slot:
    """The place of one worker process, and the way to tell it something."""

    index: int
    process: SpawnProcess | None = None
    connection: Connection | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause_seconds: float = FIRST_PAUSE_SECONDS


class Supervisor:
    """Keeps `processes` worker processes alive until it is told to stop."""

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings = settings
        self._slots = [Slot(index) for index in range(processes)]
        self._context = multiprocessing.get_context("spawn")
        self._watcher = Watcher(settings, self._context) if follows_registry(settings) else None
        self._first_model = settings.model
        self._stopping = False

    def run(self) -> int:
        """Return the exit code: 0 after a signal, else that of a process beyond help.

        Raises as the module's `run`.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        code = DONE
        try:
            if self._watcher:
                self._first_model = self._seen_model(self._watcher)
            if not self._stopping:
                _check(self._settings, self._first_model, len(self._slots))
            while not self._stopping and code == DONE:
                self._start_due()
                self._tell_news()
                code = self._reap()
        finally:
            self._stop_all()
        return code

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._stopping = True

    def _seen_model(self, watcher: Watcher) -> Path | None:
        """The champion's folder, else None for the shipped one; waits for the registry's answer,
        since to serve another model meanwhile would be a silent change."""
        while watcher.is_needed and not watcher.sighting.looked and not self._stopping:
            watcher.tend()
            time.sleep(TEND_SECONDS)
        champion, complaint = watcher.sighting.champion, watcher.sighting.complaint
        if champion:
            return champion.folder
        if complaint:
            raise BundleError(
                f"The registry's champion cannot be used: {complaint} Put another in its place by "
                "`bellwether models promote` or `rollback`."
            )
        if needs_champion(self._settings) and not self._stopping:
            raise ConfigurationError(NO_CHAMPION)
        return None

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None and slot.restart_at <= now:
                self._start(slot)
                slot.started_at = now

    def _start(self, slot: Slot) -> None:
        """With the newest model; where that does not load, with the one that was checked first."""
        receiver, slot.connection = self._context.Pipe(duplex=False)
        champion = self._watcher.sighting.champion if self._watcher else None
        newest = [champion.folder] if champion else []
        slot.process = self._context.Process(
            target=run_process,
            args=(
                self._settings,
                slot.index,
                len(self._slots),
                os.getpid(),
                list(dict.fromkeys([*newest, self._first_model])),
                receiver if self._watcher else None,
            ),
            name=f"bellwether-worker-{slot.index}",
        )
        slot.process.start()
        receiver.close()
        if self._watcher:
            self._tell(slot, self._watcher.sighting)

    def _tell_news(self) -> None:
        if self._watcher and self._watcher.tend():
            for slot in self._slots:
                self._tell(slot, self._watcher.sighting)

    def _tell(self, slot: Slot, sighting: Sighting) -> None:
        if slot.process is not None and slot.connection is not None:
            with suppress(OSError):  # it has just died; the next one is told at its start
                slot.connection.send(sighting)

    def _reap(self) -> int:
        """Wait a moment for a death; plan the next start, or give the code that ends all."""
        wait([slot.process.sentinel for slot in self._slots if slot.process], timeout=TEND_SECONDS)
        for slot in self._slots:
            process = slot.process
            if process is None or process.exitcode is None or self._stopping:
                continue
            if process.exitcode in (WRONG_USAGE, os.EX_CONFIG):
                return WRONG_USAGE if process.exitcode == WRONG_USAGE else FAILED
            self._plan_restart(slot, process.exitcode)
        return DONE

    def _plan_restart(self, slot: Slot, exit_code: int) -> None:
        now = time.monotonic()
        if now - slot.started_at > HEALTHY_SECONDS:
            slot.pause_seconds = FIRST_PAUSE_SECONDS
        logger.error(
            "worker process %d ended with %d; starting it again in %.1f s",
            slot.index,
            exit_code,
            slot.pause_seconds,
        )
        slot.process = None
        slot.restart_at = now + slot.pause_seconds
        slot.pause_seconds = min(2 * slot.pause_seconds, LONGEST_PAUSE_SECONDS)

    def _stop_all(self) -> None:
        if self._watcher:
            self._watcher.stop()
        alive = [slot.process for slot in self._slots if slot.process]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in alive:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                logger.error("a worker process did not stop in time and is killed")
                process.kill()
                process.join()


def run_process(
    settings: Settings,
    index: int,
    processes: int,
    supervisor: int,
    folders: Sequence[Path | None],
    champions: Connection | None,
) -> None:
    """Be one worker process; exits by SystemExit.

    It begins with the model of the first of the folders that can be loaded (None: the shipped
    one), and hears of champions, where it is to follow them.
    """
    die_with(supervisor)
    set_up_logging(settings)
    try:
        _serve(settings, index, processes, folders, champions)
    except ConfigurationError as error:
        print(f"bellwether: {error}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    except BellwetherError as error:
        print(f"bellwether: {error}", file=sys.stderr)
        sys.exit(os.EX_CONFIG)


def _serve(
    settings: Settings,
    index: int,
    processes: int,
    folders: Sequence[Path | None],
    champions: Connection | None,
) -> None:
    import mode.loop

    mode.loop.use("uvloop")  # before Faust is imported

    import faust

    from stream.app import make_app
    from stream.runtime import Runtime

    threads = settings.threads or max(1, (os.cpu_count() or 1) // processes)
    app = make_app(settings)
    runtime = Runtime(
        app,
        settings.model_copy(update={"web_port": _web_port(settings, index)}),
        load_sources(settings.sources),
        _first_usable(folders, settings, threads),  # kept by no name: it is freed after a swap
        threads,
        champions,
    )
    worker = faust.Worker(app, runtime, override_logging=False, redirect_stdouts=False)
    worker.spinner = None  # it writes codes of terminals into files too
    worker.execute_from_commandline()


def _first_usable(folders: Sequence[Path | None], settings: Settings, threads: int) -> "Model":
    """The model of the first folder that has one; raises what is wrong with the last."""
    from stream.classifiers import load_model

    logger.info("loading the model")
    folder, *others = folders
    try:
        model = load_model(folder, settings, threads=threads)
    except BellwetherError as error:
        if not others:
            raise
        logger.error("the champion cannot be used, the model before it serves: %s", error)
        return _first_usable(others, settings, threads)
    logger.info("model %s is ready", model.version)
    return model
