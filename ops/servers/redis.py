"""Redis from the Debian package, with every write on the disk before it is answered."""

import contextlib
import shutil
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from ops.servers.errors import ServerError
from ops.servers.ports import HOST, free_port
from ops.servers.server import Server, Tls, local, write_private

DEFAULT_PORT = 6379


class Redis(Server):
    """Redis with an append-only file; optionally with a password and a TLS port beside."""

    name = "Redis"

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        password: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(folder, port or free_port())
        self._password = password
        self._tls = tls

    @property
    def address(self) -> str:
        return f"redis://{self._credentials}{local(self.port)}/0"

    @property
    def tls_address(self) -> str:
        """The address of the TLS listener."""
        if self._tls is None:
            raise ServerError("this Redis has no TLS listener")
        return f"rediss://{self._credentials}{local(self._tls.port)}/0"

    @property
    def _credentials(self) -> str:
        return f":{self._password}@" if self._password else ""

    def _prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        lines = {
            "bind": HOST,
            "port": self.port,
            "dir": self.folder / "data",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        if self._password:
            lines["requirepass"] = self._password
        if self._tls:
            lines |= {
                "tls-port": self._tls.port,
                "tls-cert-file": self._tls.certificate,
                "tls-key-file": self._tls.key,
                "tls-ca-cert-file": self._tls.authority,
                "tls-auth-clients": "no",
            }
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        write_private(self.folder / "redis.conf", text)

    def _command(self) -> Sequence[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerError("there is no redis-server; `make up` installs it or says how")
        return [program, str(self.folder / "redis.conf")]

    def answers(self) -> bool:
        plain = b"+PONG" in ask(self.port, self._password)
        return plain and (self._tls is None or self._tls_answers(self._tls))

    def _tls_answers(self, tls: Tls) -> bool:
        context = ssl.create_default_context(cafile=tls.authority)
        return b"+PONG" in ask(tls.port, self._password, context)


def ask(port: int, password: str | None = None, tls: ssl.SSLContext | None = None) -> bytes:
    """What a Redis on the port says to PING; empty where nothing answers."""
    request = f"AUTH {password}\r\n" if password else ""
    answer = bytearray()
    with contextlib.suppress(OSError), _connect(port, tls) as connection:
        connection.sendall(f"{request}PING\r\nQUIT\r\n".encode())
        while part := connection.recv(256):
            answer += part
    return bytes(answer)


def _connect(port: int, tls: ssl.SSLContext | None) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=1)
    return tls.wrap_socket(connection, server_hostname=HOST) if tls else connection
