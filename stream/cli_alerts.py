"""`bellwether alerts`: what is active, and what comes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli_base import Json, explained, operator_settings, run

if TYPE_CHECKING:
    from schemas.alerts import Alert
    from stream.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What deserves somebody's attention.")


@app.command("list")
@explained
def list_alerts(as_json: Json = False) -> None:
    """Show the active alerts, the last raised first.

    The column events counts also those that joined since the alert was raised.

    \b
    Examples:
      $ bellwether alerts list
      $ bellwether alerts list --json | jq '.[] | select(.severity == "critical") | .reason'
    """
    from stream.display import print_alerts, print_json

    found = run(_active(operator_settings()))
    if as_json:
        print_json(alert.as_dict() for alert in found)
    else:
        print_alerts(found)


@app.command()
@explained
def watch(
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest that Redis still has.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print each alert as it is raised or resolved, until Ctrl-C; with --json one object a line.

    \b
    Examples:
      $ bellwether alerts watch
      $ bellwether alerts watch --json | jq --unbuffered -r .reason
    """
    from stream.display import alert_line, screen

    console = screen()

    def show(alert: "Alert") -> None:
        if as_json:
            print(alert.to_json(), flush=True)
        else:
            console.print(alert_line(alert), soft_wrap=True)

    run(_watch(operator_settings(), "0" if from_start else "$", show))


async def _active(settings: "Settings") -> "list[Alert]":
    from stream.alert_store import AlertStore
    from stream.redis_session import redis_session

    async with redis_session(settings) as redis:
        return await AlertStore(redis, settings.prefix).active()


async def _watch(settings: "Settings", after: str, show: "Callable[[Alert], None]") -> None:
    import asyncio

    from stream.alert_store import AlertStore
    from stream.cancellation import cancelled
    from stream.redis_session import redis_session

    async with redis_session(settings) as redis:
        store = AlertStore(redis, settings.prefix)

        async def follow() -> None:
            async for entry in store.watch(after):
                show(entry.alert)

        following = asyncio.create_task(follow())
        try:
            await asyncio.wait([following])
        finally:
            await cancelled(following)
        following.result()
