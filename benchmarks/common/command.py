"""What the commands of the benchmarks share: options, and plain words for what goes wrong."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.corpus import SHARED_DATA
from ops.servers import ServerError
from schemas.errors import BellwetherError, ConfigurationError
from stream.cli_base import DONE, FAILED, INTERRUPTED, WRONG_USAGE, explained

Data = Annotated[Path, typer.Option(help="Folder with stocknet_tweets.jsonl.gz.")]
Running = Annotated[
    bool,
    typer.Option(
        "--running",
        help="Measure on the running servers that the settings name (such as those of `make up`), "
        "in a namespace that is removed afterwards, instead of on servers of its own.",
    ),
]
DEFAULT_DATA = SHARED_DATA


def execute(command: Callable[..., None]) -> None:
    """Run a function as a command line, and exit: 1 when it failed, 2 on wrong usage."""
    # So that servers and workers are ended as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
    app = typer.Typer(
        pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.command()(explained(command))
    try:
        app()
    except ConfigurationError as error:
        _fail(error, WRONG_USAGE)
    except (BellwetherError, ServerError) as error:
        _fail(error, FAILED)
    sys.exit(DONE)


def _fail(error: Exception, code: int) -> None:
    print(f"benchmark: {error}", file=sys.stderr)
    sys.exit(code)
