"""What every process of the service does first: it logs, and it dies with its supervisor."""

import ctypes
import logging
import os
import signal
import sys

from stream.settings import Settings

PR_SET_PDEATHSIG = 1


def die_with(supervisor: int) -> None:
    """Ask the kernel to kill this process when its supervisor dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit(1)


def set_up_logging(settings: Settings) -> None:
    """To standard error, without what may hold customers' texts."""
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
