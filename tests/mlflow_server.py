"""A tracking server of MLflow for tests, and a proxy before it that can misbehave."""

import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from ops.servers import Server, free_port
from ops.servers.ports import HOST
from ops.servers.server import local


class Mlflow(Server):
    """`mlflow server`, with a SQLite database and files that go through it into a folder."""

    name = "MLflow"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port())

    @property
    def address(self) -> str:
        return f"http://{local(self.port)}"

    @property
    def files(self) -> Path:
        """Where it keeps the files of runs."""
        return self.folder / "files"

    def _prepare(self) -> None:
        self.files.mkdir(exist_ok=True)

    def _command(self) -> Sequence[str]:
        options = {
            "host": HOST,
            "port": self.port,
            "workers": 1,
            "backend-store-uri": f"sqlite:///{self.folder / 'mlflow.db'}",
            "artifacts-destination": self.files,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "mlflow", "server", *given]

    def _environment(self) -> Mapping[str, str]:
        return {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Proxy(ThreadingHTTPServer):
    """Passes requests on to the server on `target`, as far as it is not told otherwise.

    authorization: the header that it asks for.
    status: what it answers itself, with a page for people.
    cut: part of a path, whose file it breaks off half-way, up or down.
    slow: part of a path, which it holds back for two seconds.
    """

    daemon_threads = True
    authorization = ""
    status = 0
    cut = slow = "nothing"

    def __init__(self, target: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.target = target

    @property
    def address(self) -> str:
        return f"http://{local(self.server_port)}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        cut = self.server.cut in self.path
        body = self.rfile.read(length // 2 if cut else length)
        if cut and body:
            return
        if self.server.status:
            self._say(self.server.status, b"<html>\nSorry.\n</html>")
        elif self.server.authorization not in ("", self.headers.get("Authorization")):
            self._say(401, b"Who are you?")
        else:
            self._pass_on(body, cut)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _pass_on(self, body: bytes, cut: bool) -> None:
        if self.server.slow in self.path:
            time.sleep(2)
        target = HTTPConnection(HOST, self.server.target, timeout=30)
        target.request(self.command, self.path, body, dict(self.headers))
        answer = target.getresponse()
        content = answer.read()
        target.close()
        self._say(answer.status, content, len(content) // 2 if cut else None)

    def _say(self, status: int, content: bytes, told: int | None = None) -> None:
        """An answer of which only so many bytes are told."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "3600")
        self.end_headers()
        self.wfile.write(content[:told])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def proxy(server: Mlflow) -> Iterator[Proxy]:
    """A proxy before the server while the block lasts."""
    with Proxy(server.port) as proxy:
        Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        proxy.shutdown()


def basic(user: str, password: str) -> str:
    """The header of somebody with a password."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
