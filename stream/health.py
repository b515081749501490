"""The worker's small web server: `/live`, `/ready` and `/metrics`, on loopback."""

import logging
import socket
from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from schemas.errors import ConfigurationError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"


def require_free_port(port: int) -> None:
    """Raise ConfigurationError when somebody else listens on the port; 0 is always free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ConfigurationError(
                f"BELLWETHER_WEB_PORT: port {port} of {HOST} is taken, perhaps by another worker; "
                "choose another, or 0 for any free one"
            ) from None


class HealthServer:
    """Answers 200 or 503; `checks` names what readiness takes and whether it holds now."""

    def __init__(
        self, port: int, registry: CollectorRegistry, checks: Callable[[], Mapping[str, bool]]
    ) -> None:
        self._port = port
        self._registry = registry
        self._checks = checks
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/live", self._live),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()
        logger.info("health and metrics: http://%s:%d", HOST, self.port)

    @property
    def port(self) -> int:
        """The port it listens on, also where the setting was 0."""
        if self._runner is None or not self._runner.addresses:
            return self._port
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close at once; a probe that is cut off asks again."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        checks = dict(self._checks())
        ready = all(checks.values())
        return web.json_response({"ready": ready, **checks}, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
