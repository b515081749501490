"""The conversation of `bellwether label`: a text, the labels offered, what a person answers.

Each answer is confirmed by the brokers before the next text is shown, so whatever ends a session
loses nothing of it.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from schemas.records import FeedbackRecord
from schemas.taxonomy import Task
from stream.display import harmless
from stream.json_lines import in_thread
from stream.label_sender import Send
from stream.labelling import ACTIVE, AUDIT, Choice, Command, Question, TextChoice

# A person does not read more for one label; of a long text the model reads the beginning, too.
SHOWN_CHARACTERS = 2_000
LONGEST_LINE = 4_096
HELP = "a number, part of a label's name, ? all labels, s skip, u undo, q quit"

ReadLine = Callable[[], Awaitable[str | None]]


async def terminal_line() -> str | None:
    """What is typed until Enter; None at the end of the input."""
    # A terminal gives a line a read. Unbuffered, since an abandoned read must hold no lock at exit.
    line = await in_thread(lambda: os.read(sys.stdin.fileno(), LONGEST_LINE))
    return line.decode(errors="replace") if line else None


@dataclass(slots=True)
class Record:
    """What came of a session: the labels that stand, and how many were skipped or taken back."""

    given: list[tuple[Choice, str]] = field(default_factory=list)
    skipped: int = 0
    withdrawn: int = 0
    interrupted: bool = False

    def __str__(self) -> str:
        audits = [(c, label) for c, label in self.given if c.selection == AUDIT]
        right = sum(choice.candidate.prediction.label == label for choice, label in audits)
        said = f"{len(self.given)} labelled, {self.skipped} skipped, {self.withdrawn} taken back"
        return f"{said}; audits: the model is right in {right} of {len(audits)}" if audits else said


class LabelSession:
    """Asks until `count` labels are given (None: until all were asked), or the person ends it."""

    def __init__(
        self,
        texts: TextChoice,
        task: Task,
        annotator: str,
        send: Send,
        console: Console,
        read_line: ReadLine = terminal_line,
        count: int | None = None,
    ) -> None:
        self._texts = texts
        self._task = task
        self._annotator = annotator
        self._send = send
        self._console = console
        self._read_line = read_line
        self._count = count
        self._again: list[Choice] = []
        self.record = Record()

    async def run(self) -> None:
        """Raises what `send` raises; Ctrl-C ends the session as `q` does."""
        while self._count is None or len(self.record.given) < self._count:
            choice = self._again.pop() if self._again else self._texts.next()
            if choice is None:
                self._console.print("That was the last of these texts.")
                return
            try:
                answer = await self._asked(choice)
            except asyncio.CancelledError:
                self.record.interrupted = True
                return
            if answer is Command.QUIT:
                return
            await self._take(choice, answer)

    async def _take(self, choice: Choice, answer: Command | str) -> None:
        if answer is Command.SKIP:
            self.record.skipped += 1
        elif answer is Command.UNDO:
            self._again.append(choice)
            await self._undo()
        else:
            await self._send(self._feedback(choice, answer))
            self.record.given.append((choice, answer))

    async def _undo(self) -> None:
        """Take back the last label, and ask for it again."""
        if not self.record.given:
            self._console.print("There is no label to take back.")
            return
        choice, _ = self.record.given[-1]
        await self._send(self._feedback(choice, None))
        self.record.given.pop()
        self.record.withdrawn += 1
        self._again.append(choice)

    def _feedback(self, choice: Choice, label: str | None) -> FeedbackRecord:
        return FeedbackRecord.model_validate(
            {
                "id": str(uuid4()),
                "event_id": choice.candidate.event_id,
                "stream": self._task.kind.stream,
                "task": self._task.name,
                "label": label,
                "annotator": self._annotator,
                "given_at": datetime.now(UTC),
                "selection": choice.selection,
            }
        )

    async def _asked(self, choice: Choice) -> Command | str:
        """A command, or a label. The end of the input is a wish to quit."""
        question = Question(choice)
        self._show_text(choice)
        while True:
            self._show_labels(question)
            typed = await self._read_line()
            if typed is None:
                return Command.QUIT
            answer = question.read(typed)
            if answer is not None:
                return answer
            if question.complaint:
                self._console.print(question.complaint)

    def _show_text(self, choice: Choice) -> None:
        text = choice.candidate.text
        cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
        shown = Text("\n".join(map(harmless, cut.splitlines())))
        why = "audit: without the model's answer" if choice.selection == AUDIT else "unsure"
        title = f"{self._task.name} · {len(self.record.given) + 1} · {why}"
        self._console.print()
        self._console.print(Panel(shown, title=title, title_align="left"))

    def _show_labels(self, question: Question) -> None:
        prediction = question.choice.candidate.prediction
        for number, label in enumerate(question.offered, start=1):
            line = Text(f"{number:>3}  {harmless(label)}")
            if question.choice.selection == ACTIVE:
                line.append(f"  {prediction.probability(label):.0%}", style="dim")
            self._console.print(line)
        self._console.print(Text(f"{HELP} > ", style="dim"), end="")
