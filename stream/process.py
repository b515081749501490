"""What a process of the service does first: it logs, it dies with its supervisor, or steps back."""

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from stream.settings import Settings

PR_SET_PDEATHSIG = 1
# What learns steps back wherever a worker wants the processor.
NICENESS = 10
_SELF = Path("/proc/self")
MOST_KINDS = 200


def die_with(supervisor: int) -> None:
    """Ask the kernel to kill this process when its supervisor dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit(1)


def set_up_logging(settings: Settings) -> None:
    """To standard error, without what may hold customers' texts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(NowAndThen())
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
        handlers=[handler],
    )
    # Below these levels their logs hold requests and records, and those hold customers' texts.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    least = logging.WARNING if settings.log_level == "INFO" else logging.INFO
    for name in ("aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


class NowAndThen(logging.Filter):
    """Of what aiokafka says again and again, such as that a broker is away, one line of a kind
    passes in so many seconds: else an outage of a minute fills a log."""

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        kind = (record.name, str(record.msg))
        if record.created - self._passed.get(kind, 0.0) < self._seconds:
            return False
        if len(self._passed) >= MOST_KINDS:  # some sentences hold numbers
            self._passed.clear()
        self._passed[kind] = record.created
        return True


def step_back(threads: int) -> None:
    """Let workers go before this process, and keep its libraries to so many threads.

    Needs the extra `train`.
    """
    _be_nice()
    # Libraries of linear algebra can be told once they are loaded, and SciPy has one of its own.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits
    from torch import set_num_threads

    threadpool_limits(threads)
    set_num_threads(threads)


def _be_nice() -> None:
    """Every thread, since each has a niceness of its own; and a session of its own, since Linux
    shares the processor out among sessions first, and niceness counts only within one."""
    for thread in [int(task.name) for task in (_SELF / "task").glob("*")] or [0]:
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(now, NICENESS))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # another system, or another way of sharing
            (_SELF / "autogroup").write_text(str(NICENESS))
