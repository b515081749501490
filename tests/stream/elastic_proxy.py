"""A proxy before Elasticsearch that spoils its answers, and a counter of what is repeated."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import ClientSession, web
from elasticsearch import AsyncElasticsearch

from ops.servers import Elasticsearch
from stream.retry import pauses

MEBIBYTE = 1024 * 1024

Answer = Callable[[web.Request, web.Response], Awaitable[web.Response]]


class Retries:
    """Counts what the sink repeats."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    async def reached(self, count: int) -> None:
        async for _ in pauses(0.1):
            if self.count >= count:
                return


@asynccontextmanager
async def proxy(node: Elasticsearch, answer: Answer) -> AsyncIterator[AsyncElasticsearch]:
    """A client through a proxy that forwards all and then answers as `answer` says."""

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {
            name: request.headers[name]
            for name in ("Accept", "Content-Type")
            if name in request.headers
        }
        async with (
            ClientSession() as session,
            session.request(
                request.method, f"{node.address}{request.path_qs}", data=body, headers=headers
            ) as given,
        ):
            product = {"X-Elastic-Product": "Elasticsearch"}
            response = web.Response(status=given.status, body=await given.read(), headers=product)
            response.content_type = given.content_type
            return await answer(request, response)

    app = web.Application(client_max_size=64 * MEBIBYTE)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    client = AsyncElasticsearch(f"http://127.0.0.1:{port}", max_retries=0)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()
