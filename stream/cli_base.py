"""What all commands share: exit codes, the --json option, settings, words for failure."""

import codecs
import inspect
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from schemas.errors import BellwetherError, in_words
from stream.when import parse_span, parse_when

if TYPE_CHECKING:
    from stream.settings import Settings

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

# The signs that tables and sentences of ours are made of.
_SIGNS = {
    "✓": "+", "✗": "x", "→": "->", "…": "...", "·": "-", "–": "-", "─": "-", "−": "-",
    "≥": ">=", "≤": "<=", "\u201c": '"', "\u201d": '"', "\u2019": "'",
}  # fmt: skip

Answer = TypeVar("Answer")
Command = TypeVar("Command", bound=Callable[..., None])


def _in_utf8(wanted: bool) -> bool:
    """JSON for programs is UTF-8, whatever the terminal speaks."""
    if wanted and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return wanted


Json = Annotated[bool, typer.Option("--json", callback=_in_utf8, help="Print JSON for programs.")]

Force = Annotated[
    bool, typer.Option("--force", help="Read the file as JSON lines, whatever it looks like.")
]


def speak_plainly() -> None:
    """Print in any locale: what a terminal does not know is written in its letters, or escaped."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    said = "".join(
        _SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in unknown
    )
    return said, error.end


def operator_settings() -> "Settings":
    """The settings, for commands that speak by their exceptions: their clients' logs are left out.

    Raises ConfigurationError.
    """
    from stream.settings import load_settings

    for name in ("aiokafka", "elastic_transport", "elasticsearch", "redis"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return load_settings()


def fail(error: BellwetherError, code: int) -> NoReturn:
    """Say in one line what went wrong, and exit."""
    print(f"bellwether: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def extra(or_else: str = "") -> Iterator[None]:
    """A package that only the extra `train` installs is asked for in words."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BellwetherError(
            f"this needs the package {error.name}, which `make install-all` installs "
            f"(the extra train){or_else}"
        ) from error


def when(text: str) -> datetime:
    """A time as an operator writes it; wrong usage if it is none."""
    try:
        return parse_when(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def flush() -> None:
    """A reader that has gone away (`| head`) is no reason for a complaint at exit; a full disk is
    one."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            fail(in_words(error), FAILED)


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do it to its end; asyncio is imported late, for the sake of a quick help."""
    import asyncio

    return asyncio.run(work)


def span(text: str) -> timedelta:
    """How an option such as 90d is read."""
    try:
        found = parse_span(text)
        datetime.now(UTC) - found  # as long as the calendar at most
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None
    return found


def explained(command: Command) -> Command:
    """Join the lines of each paragraph of the docstring, so that help is wrapped to the terminal.

    Paragraphs that begin with \\b, the examples, keep their lines.
    """
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    command.__doc__ = "\n\n".join(
        paragraph if paragraph.startswith("\b") else paragraph.replace("\n", " ")
        for paragraph in paragraphs
    )
    return command
