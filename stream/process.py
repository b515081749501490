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


def die_with(supervisor: int) -> None:
    """Ask the kernel to kill this process when its supervisor dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit(1)


def set_up_logging(settings: Settings) -> None:
    """To standard error, without what may hold customers' texts."""
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Below this level its log holds request bodies, and those hold customers' texts.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    if settings.log_level == "INFO":
        for chatty in ("aiokafka", "faust", "mode"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


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
