"""Elasticsearch: the official server with few modules, as one node."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.servers import distributions
from ops.servers.errors import ServerError
from ops.servers.ports import HOST, free_port
from ops.servers.server import Server, Tls, compiler_options, local, write_private

DEFAULT_PORT = 9200
NOBODY = 65534
# Elasticsearch refuses to run as root. The capability lets the other user into a checkout and a
# cache under root's own home folder; the secure bit lets it keep the capability when it asks
# whether it may read a file, access(2).
AS_NOBODY = (
    "setpriv",
    "--securebits=+no_setuid_fixup",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)


@dataclass(frozen=True, slots=True)
class User:
    """A superuser in the file realm."""

    name: str
    password: str


class Elasticsearch(Server):
    """Elasticsearch; with a user the security module is on, with Tls it speaks HTTPS only."""

    name = "Elasticsearch"
    stop_seconds = 30.0

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        heap_mb: int = 1024,
        long_running: bool = False,
        user: User | None = None,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(folder, tls.port if tls else port or free_port())
        self._compiler = compiler_options(long_running)
        self._heap_mb = heap_mb
        self._user = user
        self._tls = tls
        if tls and not user:
            raise ServerError("HTTPS belongs to Elasticsearch's security module: give a user")

    @property
    def address(self) -> str:
        return f"{'https' if self._tls else 'http'}://{local(self.port)}"

    @property
    def _config(self) -> Path:
        return self.folder / "config"

    def _prepare(self) -> None:
        source = distributions.installed().elasticsearch / "config"
        shutil.copytree(source, self._config, dirs_exist_ok=True)
        for name in ("data", "logs", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        options = [f"-Xms{self._heap_mb}m", f"-Xmx{self._heap_mb}m", "-Xlog:disable"]
        java = "\n".join([*options, *self._compiler]) + "\n"
        write_private(self._config / "jvm.options.d/ours.options", java)
        settings = self._settings() | self._security()
        write_private(self._config / "elasticsearch.yml", _as_yaml(settings))
        if self._user and not (self._config / "users").read_text():
            self._run("elasticsearch-users", "useradd", *_words(self._user))

    def _settings(self) -> dict[str, object]:
        return {
            "cluster.name": "bellwether",
            "node.name": "bellwether",
            "discovery.type": "single-node",
            "network.host": HOST,
            "http.port": self.port,
            "transport.port": free_port(),
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
            # One development node on a nearly full disk shall still take documents.
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "cluster.max_shards_per_node": 5000,
        }

    def _security(self) -> dict[str, object]:
        if not self._user:
            return {"xpack.security.enabled": False}
        settings: dict[str, object] = {
            "xpack.security.enabled": True,
            "xpack.security.transport.ssl.enabled": False,
            "xpack.security.http.ssl.enabled": self._tls is not None,
        }
        if self._tls:
            # The server may read files of its configuration folder only.
            for name, file in (("http.crt", self._tls.certificate), ("http.key", self._tls.key)):
                shutil.copyfile(file, self._config / name)
            settings |= {
                "xpack.security.http.ssl.certificate": "http.crt",
                "xpack.security.http.ssl.key": "http.key",
            }
        return settings

    def _environment(self) -> Mapping[str, str]:
        java = shutil.which("java")
        if java is None:
            raise ServerError("there is no java; `make up` installs it or says how")
        return {
            "ES_JAVA_HOME": str(Path(java).resolve().parents[1]),
            "ES_PATH_CONF": str(self._config),
            "ES_TMPDIR": str(self.folder / "tmp"),
        }

    def _command(self) -> Sequence[str]:
        program = str(distributions.installed().elasticsearch / "bin/elasticsearch")
        return [*AS_NOBODY, program] if os.geteuid() == 0 else [program]

    def _run(self, program: str, *arguments: str) -> None:
        given = [f"{name}={value}" for name, value in self._environment().items()]
        path = distributions.installed().elasticsearch / "bin" / program
        done = subprocess.run(
            ["env", *given, str(path), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerError(f"{program} failed: {done.stdout}{done.stderr}")

    def answers(self) -> bool:
        health = ask(
            self.port,
            "/_cluster/health?wait_for_status=yellow&timeout=1s",
            user=self._user,
            authority=self._tls.authority if self._tls else None,
        )
        return health is not None and health.get("status") in ("yellow", "green")


def ask(
    port: int, path: str, *, user: User | None = None, authority: Path | None = None
) -> dict[str, object] | None:
    """The JSON object that Elasticsearch answers with, whatever the status; else None."""
    headers = {}
    if user:
        token = base64.b64encode(f"{user.name}:{user.password}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection = _connection(port, authority)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = json.loads(connection.getresponse().read())
            return answer if isinstance(answer, dict) else None
    return None


def _connection(port: int, authority: Path | None) -> http.client.HTTPConnection:
    if authority is None:
        return http.client.HTTPConnection(HOST, port, timeout=3)
    context = ssl.create_default_context(cafile=authority)
    return http.client.HTTPSConnection(HOST, port, timeout=3, context=context)


def _words(user: User) -> tuple[str, ...]:
    return (user.name, "-p", user.password, "-r", "superuser")


def _as_yaml(settings: Mapping[str, object]) -> str:
    """JSON scalars are YAML scalars."""
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
