"""What the three servers have in common: a folder, a port, a process, an answer."""

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ops.servers.errors import ServerError
from ops.servers.ports import HOST
from ops.servers.process import Process

READY_SECONDS = 180.0
LOG_TAIL_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS listener beside or instead of the plain one. The files are PEM."""

    port: int
    certificate: Path
    key: Path
    authority: Path


class Server(ABC):
    """One server with its data in a folder; a restart keeps data and port.

    The folder holds ``data``, ``log`` and ``process``. Every method raises ServerError.
    """

    name: ClassVar[str]
    stop_seconds: ClassVar[float] = 20.0

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.resolve()
        self.port = port
        self._process = Process(self.folder / "process")

    @property
    @abstractmethod
    def address(self) -> str:
        """The value of the setting that names this server."""

    @abstractmethod
    def _prepare(self) -> None:
        """Write the configuration and, at the first start, the data folder."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command line of the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves requests now; False also while it starts or hangs."""

    def _environment(self) -> Mapping[str, str]:
        return {}

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process.running

    @property
    def pids(self) -> list[int]:
        """The process ids of the server and its children."""
        return self._process.members()

    @property
    def log(self) -> Path:
        """The file with the output of the process."""
        return self.folder / "log"

    def start(self) -> None:
        """Start the process; use wait_ready() before talking to it."""
        if self.running:
            raise ServerError(f"{self.name} runs already in {self.folder}")
        self._process.kill()  # children that outlived their leader
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self._process.spawn(self._command(), self.log, self._environment())

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait until it answers; says what the log says when it does not."""
        deadline = time.monotonic() + timeout_seconds
        while not self.answers():
            if not self.running:
                raise ServerError(f"{self.name} ended while it started. {self._last_words()}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} did not answer on port {self.port} within "
                    f"{timeout_seconds:.0f} s. {self._last_words()}"
                )
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of the process and its children."""
        self._process.kill()

    def stop_signal(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._process.signal(signal.SIGSTOP)

    def continue_signal(self) -> None:
        """SIGCONT after stop_signal()."""
        self._process.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in order; safe when it does not run."""
        self._process.stop(self.stop_seconds)

    def _last_words(self) -> str:
        try:
            tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            tail = ""
        return f"The end of {self.log}:\n{tail}"


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, since it may hold a password."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text)


def local(port: int) -> str:
    """The loopback address of a port."""
    return f"{HOST}:{port}"


def compiler_options(long_running: bool) -> tuple[str, ...]:
    """Java options; a short run does without the optimising compiler and starts in half the time.

    Elasticsearch's start takes 11 instead of 20 seconds of processor time.
    """
    return () if long_running else ("-XX:TieredStopAtLevel=1",)
