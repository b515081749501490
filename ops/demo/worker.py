"""The worker of the demo: a process of its own, which ends with the demo."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ops.servers import free_port
from schemas.errors import BellwetherError
from stream.settings import PREFIX

READY_SECONDS = 120.0
POLL_SECONDS = 0.2
# Its drain, and what its supervisor waits beyond.
END_SECONDS = 20.0
LINES_OF_LOG = 8

Say = Callable[[str], None]


class WorkerFailed(BellwetherError):
    """The worker ended, or does not get on."""


class Worker:
    """`bellwether worker` with some settings beside those of the environment.

    The kernel ends it when this process is killed, and a terminal's Ctrl-C does not reach it: it
    is ended here, in its time.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, say: Say) -> None:
        self.port = free_port()
        self.log = log
        self._say = say
        self._environment = {**os.environ, **settings, f"{PREFIX}WEB_PORT": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "stream", "worker"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._say("Worker: ending …")
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()

    async def wait_ready(self) -> None:
        """Say what it is at until it is ready. Raises WorkerFailed."""
        said = ""
        try:
            async with asyncio.timeout(READY_SECONDS):
                while lacking := await asyncio.to_thread(self._lacking):
                    self.check()
                    if lacking != said:
                        self._say(f"Worker: {lacking} …")
                        said = lacking
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise WorkerFailed(self._failure(f"is not ready after {READY_SECONDS:.0f} s")) from None

    def _lacking(self) -> str:
        """What it waits for, in words; empty when it is ready."""
        state = _get_json(f"http://127.0.0.1:{self.port}/ready")
        if state is None:
            return "starting, loading the model"
        lacking = [name for name, holds in state.items() if not holds and name != "ready"]
        return "waiting for " + ", ".join(lacking) if lacking else ""

    async def watch(self) -> None:
        """Raises WorkerFailed when it has ended."""
        while True:
            self.check()
            await asyncio.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise WorkerFailed if it has ended."""
        code = self._process.poll() if self._process else None
        if code is not None:
            end = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
            raise WorkerFailed(self._failure(end))

    def _failure(self, what: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LINES_OF_LOG:]
        return "\n".join([f"The worker {what}. The end of its log, {self.log}:", *lines])


def _get_json(url: str) -> dict[str, Any] | None:
    """The JSON of a page, whatever its status; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return None
    parsed: dict[str, Any] = json.loads(body)
    return parsed
