"""Worker processes: one runs the service, a supervisor keeps as many as asked for alive.

The supervisor spawns (never forks: threads of the model would not survive it) and starts a
process that died again after growing pauses. A worker process dies with its supervisor, also when
that is killed, so nobody is left behind on the partitions.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from models.bundle import taxonomy_of
from schemas.errors import BellwetherError, ConfigurationError
from schemas.sources import load_sources
from stream.settings import Settings

logger = logging.getLogger(__name__)

DONE, FAILED, WRONG_USAGE = 0, 1, 2
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# A process that lived this long has earned a quick restart again.
HEALTHY_SECONDS = 60.0
STOP_SECONDS = 18.0
PR_SET_PDEATHSIG = 1


def run(settings: Settings, processes: int = 1) -> int:
    """Run the service until SIGTERM or SIGINT; return the exit code.

    0 after a signal, also while a sink is away; 2 when the configuration is wrong, 1 when the
    model cannot be loaded. Raises ConfigurationError for files that can be checked beforehand, and
    BundleError where there is no bundle.
    """
    _set_up_logging(settings)
    _check(settings, processes)
    return Supervisor(settings, processes).run()


def _check(settings: Settings, processes: int) -> None:
    """Find what is wrong with the files before anything is spawned."""
    from stream.health import require_free_port
    from stream.risk import RiskModel
    from stream.rules import RuleBook

    taxonomy = taxonomy_of(settings.model, settings.taxonomy)
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
    """The place of one worker process."""

    index: int
    process: SpawnProcess | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause_seconds: float = FIRST_PAUSE_SECONDS


class Supervisor:
    """Keeps `processes` worker processes alive until it is told to stop."""

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings = settings
        self._slots = [Slot(index) for index in range(processes)]
        self._context = multiprocessing.get_context("spawn")
        self._stopping = False

    def run(self) -> int:
        """Return the exit code: 0 after a signal, else that of a process beyond help."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        code = DONE
        while not self._stopping and code == DONE:
            self._start_due()
            code = self._reap()
        self._stop_all()
        return code

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None and slot.restart_at <= now:
                slot.process = self._context.Process(
                    target=run_process,
                    args=(self._settings, slot.index, len(self._slots), os.getpid()),
                    name=f"bellwether-worker-{slot.index}",
                )
                slot.process.start()
                slot.started_at = now

    def _reap(self) -> int:
        """Wait a moment for a death; plan the next start, or give the code that ends all."""
        wait([slot.process.sentinel for slot in self._slots if slot.process], timeout=0.2)
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


def run_process(settings: Settings, index: int, processes: int, supervisor: int) -> None:
    """Be one worker process; exits by SystemExit."""
    _die_with(supervisor)
    _set_up_logging(settings)
    try:
        _serve(settings, index, processes)
    except ConfigurationError as error:
        print(f"bellwether: {error}", file=sys.stderr)
        sys.exit(WRONG_USAGE)
    except BellwetherError as error:
        print(f"bellwether: {error}", file=sys.stderr)
        sys.exit(os.EX_CONFIG)


def _die_with(supervisor: int) -> None:
    """Ask the kernel to kill this process when its supervisor dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit(FAILED)


def _serve(settings: Settings, index: int, processes: int) -> None:
    import mode.loop

    mode.loop.use("uvloop")  # before Faust is imported

    import faust

    from stream.analysis import Analysis
    from stream.app import make_app
    from stream.classifiers import load_classifier
    from stream.risk import RiskModel
    from stream.rules import RuleBook
    from stream.runtime import Runtime

    logger.info("loading the model")
    threads = settings.threads or max(1, (os.cpu_count() or 1) // processes)
    classifier = load_classifier(settings, threads=threads)
    taxonomy = classifier.taxonomy
    analysis = Analysis(
        risk=RiskModel.load(settings.risk, taxonomy),
        rules=RuleBook.load(settings.rules, taxonomy),
        taxonomy=taxonomy,
        prefix=settings.prefix,
        alert_max_age_seconds=settings.alert_max_age_seconds,
    )
    logger.info("model %s is ready", classifier.version)
    app = make_app(settings)
    runtime = Runtime(
        app,
        settings.model_copy(update={"web_port": _web_port(settings, index)}),
        load_sources(settings.sources),
        classifier,
        analysis,
    )
    faust.Worker(
        app, runtime, loglevel=settings.log_level, redirect_stdouts=False
    ).execute_from_commandline()


def _set_up_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Below this level its log holds request bodies, and those hold customers' texts.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    if settings.log_level == "INFO":
        for chatty in ("aiokafka", "faust", "mode"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
