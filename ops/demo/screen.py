"""Where the demo speaks: lines that stay, and on a terminal a picture below them that moves."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from ops.demo.drawing import WIDTH, Line, alert_line, letter_line
from schemas.alerts import Alert
from schemas.dead_letters import DeadLetter
from stream.display import screen

FRAME_SECONDS = 0.2
PLAIN_SECONDS = 2.0

Picture = Callable[[], RenderableType]


class Screen:
    """Says things on standard output."""

    def __init__(self) -> None:
        if hasattr(sys.stdout, "reconfigure"):  # a terminal without UTF-8 is no reason to stop
            sys.stdout.reconfigure(errors="replace")
        self._console = screen()
        if self._console.width > WIDTH:
            self._console.width = WIDTH if self._console.is_terminal else self._console.width

    def say(self, text: str = "", style: str = "") -> None:
        """A line of words."""
        self._console.print(Text(text, style=style))

    def show(self, *contents: RenderableType) -> None:
        """Anything that can be drawn."""
        for content in contents:
            self._console.print(content)

    def paste(self, lines: Iterable[str]) -> None:
        """Lines to copy: never wrapped."""
        for text in lines:
            self._console.print(Text(text), soft_wrap=True)

    def alert(self, alert: Alert, seconds: float | None) -> None:
        """An alert as it comes."""
        self._line(alert_line(alert, seconds))

    def letter(self, letter: DeadLetter, prefix: str) -> None:
        """A dead letter as it comes."""
        self._line(letter_line(letter, prefix))

    def _line(self, line: Line) -> None:
        """A file is for searching: there, nothing is wrapped or aligned."""
        self._console.print(line.aligned() if self._console.is_terminal else line.plain())

    @asynccontextmanager
    async def picture(
        self, draw: Picture, plain: Callable[[], str] | None = None
    ) -> AsyncIterator[None]:
        """Keep a picture up to date; without a terminal, now and then a plain line instead."""
        show = self._moving(draw) if self._console.is_terminal else self._plain(plain)
        task = asyncio.create_task(show)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _moving(self, draw: Picture) -> None:
        with Live(draw(), console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(draw(), refresh=True)
                await asyncio.sleep(FRAME_SECONDS)

    async def _plain(self, draw: Callable[[], str] | None) -> None:
        while draw:
            await asyncio.sleep(PLAIN_SECONDS)
            self.say(draw())
