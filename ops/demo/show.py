"""The demonstration from a ready worker to the summary, and the stream of alerts after it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ops.demo.drawing import dashboard, listening_line, progress
from ops.demo.expectations import mismatches, read_expectations
from ops.demo.figures import Figures
from ops.demo.guide import where_to_look
from ops.demo.holdings import read_holdings
from ops.demo.observers import (
    follow_alerts,
    follow_commits,
    follow_counts,
    follow_documents,
    follow_letters,
)
from ops.demo.racing import watched
from ops.demo.samples import EXPECTED, Sample, load_samples
from ops.demo.screen import Screen
from ops.demo.sender import Sender, make_sender
from ops.demo.summary import Act, summary, verdict
from ops.demo.worker import Worker, WorkerFailed
from schemas.alerts import Alert, Status
from schemas.dead_letters import DeadLetter
from stream.settings import Settings

PLAY_SECONDS = 12.0
RUSH_SECONDS = 5.0
STILL_SECONDS = 30.0
LAST_LOOKS = 40
POLL_SECONDS = 0.05
DONE, FAILED = 0, 1


@dataclass(slots=True)
class Show:
    """One demonstration. `exit_code` is None until the check was made."""

    settings: Settings
    home: Path
    worker: Worker
    screen: Screen
    started: float
    once: bool
    exit_code: int | None = None
    figures: Figures = field(default_factory=Figures)
    acts: list[Act] = field(default_factory=list)
    title: str = ""
    listening: bool = False

    async def run(self) -> None:
        """All of it. Raises ServerUnavailable and WorkerFailed as soon as one is gone."""
        await self.worker.wait_ready()
        samples = await load_samples(self.settings, PLAY_SECONDS)
        self.screen.say(f"Worker: ready, {time.monotonic() - self.started:.0f} s after the start")
        settings, figures = self.settings, self.figures
        await watched(
            self._perform(samples),
            self.worker.watch(),
            follow_alerts(settings, figures, self._say_alert),
            follow_documents(settings, figures, samples),
            follow_counts(settings, figures),
            follow_commits(settings, figures),
            follow_letters(settings, figures, self._say_letter),
        )

    async def _perform(self, samples: Sequence[Sample]) -> None:
        async with (
            self.screen.picture(
                lambda: dashboard(self.figures, self.title), lambda: progress(self.figures)
            ),
            make_sender(self.settings, self.figures) as sender,
        ):
            await self._play(sender, samples)
            await self._rush(sender, samples)
        await self._conclude()
        if not self.once:
            await self._listen()

    async def _play(self, sender: Sender, samples: Sequence[Sample]) -> None:
        with self._act(f"Two hours of news and messages in {PLAY_SECONDS:.0f} seconds"):
            await sender.play(samples)
            await self._committed()
        await self._seen()

    async def _rush(self, sender: Sender, samples: Sequence[Sample]) -> None:
        """The valid records again and again: what is there already must stay as it is."""
        again = [sample for sample in samples if sample.record]
        with self._act("The same again and again, as fast as it goes"):
            until = time.monotonic() + RUSH_SECONDS
            while time.monotonic() < until:
                await sender.rush(again)
                await self._committed(but=len(again))
            await self._committed()

    @contextmanager
    def _act(self, title: str) -> Iterator[None]:
        self.title = title
        self.screen.say(f"\n{title}", style="bold")
        before, started = self.figures.confirmed, time.monotonic()
        yield
        records = self.figures.confirmed - before
        self.acts.append(Act(title, records, time.monotonic() - started))

    async def _committed(self, but: int = 0) -> None:
        """Wait until the worker has committed all that was sent, but for the last few; as long as
        it gets on."""
        reached, since = -1, time.monotonic()
        while self.figures.behind > but:
            if self.figures.finished != reached:
                reached, since = self.figures.finished, time.monotonic()
            if time.monotonic() - since > STILL_SECONDS:
                raise WorkerFailed(
                    f"The worker has committed nothing for {STILL_SECONDS:.0f} s: "
                    f"{reached} of {self.figures.confirmed} records. Its log: {self.worker.log}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _seen(self) -> None:
        """The observers are a moment behind the worker."""
        for _ in range(LAST_LOOKS):
            if not self.figures.waiting:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _conclude(self) -> None:
        held = await read_holdings(self.settings, self.figures)
        expected = read_expectations(EXPECTED)
        wrong = mismatches(expected, held)
        self.exit_code = FAILED if wrong else DONE
        self.screen.show(*summary(self.figures, self.acts))
        self.screen.show("", verdict(expected, held, wrong))
        self.screen.say(f"\nAll of it took {time.monotonic() - self.started:.0f} s.")
        self.screen.say("\nWhere to look", style="bold")
        self.screen.paste(where_to_look(self.settings, self.home, listening=not self.once))

    def _say_alert(self, alert: Alert, seconds: float | None) -> None:
        """Alerts on what happened hours ago are soon over; that is told in the summary."""
        if alert.status is Status.FIRING or self.listening:
            self.screen.alert(alert, seconds)

    def _say_letter(self, letter: DeadLetter) -> None:
        self.screen.letter(letter, self.settings.prefix)

    async def _listen(self) -> None:
        self.listening = True
        self.screen.say("\nListening for alerts; Ctrl-C ends the demo.", style="bold")
        async with self.screen.picture(lambda: listening_line(self.figures)):
            await asyncio.Event().wait()
