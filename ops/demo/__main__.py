"""``python -m ops.demo``: see the service work, on servers of this machine.

Exit code 0 when the servers hold what is expected of the samples, 1 when they do not or something
failed on the way, 2 for wrong usage, 130 when it was ended before it had an answer.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops.demo.guide import leftovers
from ops.demo.removal import check_namespace, remove
from ops.demo.screen import Screen
from ops.demo.show import DONE, FAILED, Show
from ops.demo.worker import Worker
from ops.servers import Home, ServerError
from schemas.errors import BellwetherError, ConfigurationError
from stream.settings import PREFIX, load_settings

WRONG_USAGE, INTERRUPTED = 2, 130
QUIET = ("aiokafka", "elastic_transport", "elasticsearch", "redis")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; whatever goes wrong is one plain sentence on standard error."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    _end_by_signals()
    for name in QUIET:  # what their clients have to say comes as an exception
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    try:
        return _remove(options.remove) if options.remove else _demonstrate(options.once, started)
    except ConfigurationError as error:
        return _fail(error, WRONG_USAGE)
    except (BellwetherError, ServerError) as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _end_by_signals() -> None:
    """SIGTERM and a terminal that closes end the demo as Ctrl-C does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def _fail(error: Exception, code: int) -> int:
    print(f"The demo ends here. {error}", file=sys.stderr)
    return code


def _demonstrate(once: bool, started: float) -> int:
    screen = Screen()
    try:
        home = Home.of(os.environ, say=screen.say)
        home.up()
        namespace, log = _reserve(home.folder)
        try:
            return _show(home.folder, namespace, log, screen, started, once)
        finally:
            screen.paste(["", *leftovers(namespace)])
    finally:
        screen.say("The servers are left running; `make down` ends those that were started here.")


def _show(home: Path, namespace: str, log: Path, screen: Screen, started: float, once: bool) -> int:
    settings = load_settings(home=home, namespace=namespace)
    screen.paste([f"Namespace: {namespace}; the worker's log: {log}"])
    given = {f"{PREFIX}HOME": str(home), f"{PREFIX}NAMESPACE": namespace}
    with Worker(given, log, screen.say) as worker:
        show = Show(settings, home, worker, screen, started, once)
        try:
            asyncio.run(show.run())
        except BellwetherError as error:
            return _fail(error, FAILED)
        except KeyboardInterrupt:
            return INTERRUPTED if show.exit_code is None else show.exit_code
    return show.exit_code or DONE


def _reserve(home: Path) -> tuple[str, Path]:
    """A namespace that no other demo of this home has, and the file that says so."""
    begun = datetime.now(UTC)
    while True:
        namespace = f"demo-{begun:%Y%m%d-%H%M%S}"
        log = _log(home, namespace)
        log.parent.mkdir(exist_ok=True)
        try:
            log.touch(exist_ok=False)
        except FileExistsError:
            begun += timedelta(seconds=1)
        else:
            return namespace, log


def _log(home: Path, namespace: str) -> Path:
    return home / "demo" / f"{namespace}.log"


def _remove(namespace: str) -> int:
    check_namespace(namespace)
    settings = load_settings(namespace=namespace)
    lines = asyncio.run(remove(settings))
    _log(settings.home, namespace).unlink(missing_ok=True)
    print(f"removed {', '.join(lines)} of {namespace}")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops.demo",
        description="Start local servers and a worker, send two hours of samples, show what comes "
        "of them, and check it.",
    )
    parser.add_argument("--once", action="store_true", help="end after the summary")
    parser.add_argument("--remove", metavar="NAMESPACE", help="remove what an earlier demo left")
    return parser


if __name__ == "__main__":
    sys.exit(main())
