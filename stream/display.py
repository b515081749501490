"""What the command line shows: tables, progress, and values that cannot harm a terminal."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
)
from rich.style import Style
from rich.table import Table
from rich.text import Text

from schemas.alerts import Alert, Severity, Status
from schemas.dead_letters import DeadLetter
from schemas.times import format_milliseconds
from stream.dead_letter_box import Listing, written
from stream.findings import Finding, Level
from stream.json_lines import LineFile
from stream.replay import Report, Tally
from stream.when import age
from stream.wording import counted

if TYPE_CHECKING:
    from models.explanation import Explanation

WIDTH_OF_FILES = 400
SECONDS_BETWEEN_LINES = 5.0
PREVIEW_CHARACTERS = 500
STRONGEST_WORDS = 10
# Words with a smaller share of the greatest attribution are not coloured.
LEAST_COLOURED = 0.05

_SEVERITY_STYLES = {
    Severity.INFO: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "bold red",
}
_LEVEL_STYLES = {Level.FINE: "green", Level.WARNING: "yellow", Level.WRONG: "bold red"}


def screen(*, stderr: bool = False) -> Console:
    """The terminal; in a file or pipe lines are not wrapped, so that they can be searched."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, highlight=False, width=None if stream.isatty() else WIDTH_OF_FILES
    )


def print_json(rows: Iterable[dict[str, Any]]) -> None:
    """One JSON array."""
    print(json.dumps(list(rows), ensure_ascii=False, indent=2))


def print_json_object(value: dict[str, Any]) -> None:
    """One JSON object."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def harmless(text: str) -> str:
    """The text with everything escaped that could steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def preview(value: bytes | None) -> str:
    """The beginning of a value, in one line."""
    if value is None:
        return "null"
    text = harmless(value[: 4 * PREVIEW_CHARACTERS].decode(errors="backslashreplace"))
    return text if len(text) <= PREVIEW_CHARACTERS else f"{text[:PREVIEW_CHARACTERS]}…"


# Findings


def print_findings(findings: Sequence[Finding]) -> None:
    """A line each, and a last line that sums up."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        words = Text(harmless(finding.what))
        if finding.advice:
            words.append(f" → {harmless(finding.advice)}", style="dim")
        mark = Text(finding.level.mark, style=_LEVEL_STYLES[finding.level])
        table.add_row(mark, Text(finding.part), words)
    console = screen()
    console.print(table)
    wrong = sum(finding.level is Level.WRONG for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    console.print(f"{wrong} wrong, {warnings} to look at")


# Alerts


def print_alerts(alerts: Sequence[Alert]) -> None:
    """The active alerts as a table."""
    console = screen()
    if not alerts:
        console.print("no alert is active")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("severity", "age", "rule", "key", "events", "reason"):
        table.add_column(name)
    now = datetime.now(UTC)
    for alert in alerts:
        table.add_row(
            Text(alert.severity, style=_SEVERITY_STYLES[alert.severity]),
            age(now - alert.raised_at),
            Text(alert.rule),
            Text(harmless(alert.key)),
            str(alert.count),
            Text(harmless(alert.reason)),
        )
    console.print(table)


def alert_line(alert: Alert) -> Text:
    """One alert as it comes: when (in UTC), how bad, why."""
    style = _SEVERITY_STYLES[alert.severity] if alert.status is Status.FIRING else "green"
    word = alert.severity if alert.status is Status.FIRING else alert.status
    about = ", ".join(filter(None, (alert.rule, alert.key, alert.resolved_because)))
    return Text.assemble(
        (f"{alert.raised_at:%Y-%m-%d %H:%M:%SZ} ", "dim"),
        (f"{word:<8} ", style),
        harmless(f"{alert.reason} ({about})"),
    )


# Dead letters


def print_letters(listing: Listing, *, show_values: bool) -> None:
    """The letters as a table, and how many there are by reason."""
    console = screen()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("failed at", "reason", "origin", "message"):
        table.add_column(name)
    for letter in listing.letters:
        words = Text(harmless(letter.message))
        if show_values:
            words.append(f"\n{preview(letter.value)}", style="dim")
        table.add_row(
            format_milliseconds(letter.failed_at),
            letter.reason,
            Text(harmless(written(letter.identity))),
            words,
        )
    if listing.letters:
        console.print(table)
    reasons = ", ".join(f"{number} {reason}" for reason, number in listing.by_reason.most_common())
    said = counted(listing.total, "dead letter") + (f" ({reasons})" if reasons else "")
    said += f", {len(listing.letters)} shown"
    if listing.foreign:
        said += f"; not ours: {counted(listing.foreign, 'record')} of the topic"
    console.print(said)


def letter_row(letter: DeadLetter, *, show_value: bool) -> dict[str, Any]:
    """For JSON. A value is text in which bytes that are no UTF-8 are escaped."""
    row: dict[str, Any] = {
        "identity": written(letter.identity),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "message": letter.message,
        "failed_at": format_milliseconds(letter.failed_at),
        "truncated_from": letter.truncated_from,
    }
    if show_value:
        value = letter.value
        row["value"] = None if value is None else value.decode(errors="backslashreplace")
    return row


# Progress


@contextmanager
def step_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Takes what is being done, and how many of how many texts are (0 of 0: nobody counts).

    Shown on a terminal only, on standard error, while it lasts.
    """
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda _what, _done, _total: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, total=total or None, completed=done)

        yield show


# Explanations


def print_explanation(explanation: "Explanation") -> None:
    """The text with its words coloured, the strongest of them, and whether the sum is right."""
    console = screen()
    answer = f"{explanation.task}: {explanation.label} ({explanation.confidence:.0%} sure)"
    console.print(Text(harmless(answer), style="bold"))
    console.print(coloured(explanation))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("word")
    table.add_column("attribution", justify="right")
    for word in explanation.strongest(STRONGEST_WORDS):
        table.add_row(Text(harmless(word.word)), f"{word.attribution:+.3f}")
    console.print(table)
    total = sum(word.attribution for word in explanation.words)
    console.print(
        f"sum {total:+.3f}, from {explanation.baseline:+.3f} without the words to "
        f"{explanation.output:+.3f}; error {explanation.completeness_error:.1g}"
        + ("" if explanation.is_complete else ": too large, rely on none of this"),
        style="dim" if explanation.is_complete else "bold red",
    )
    console.print()


def coloured(explanation: "Explanation") -> Text:
    """Green words speak for the label and red ones against it, the stronger the brighter."""
    text, shown = explanation.text, Text()
    greatest = max((abs(word.attribution) for word in explanation.words), default=0) or 1
    end = 0
    for word in explanation.words:
        shown.append(harmless(text[end : word.start]))
        shown.append(harmless(word.word), style=_colour(word.attribution / greatest))
        end = word.end
    shown.append(harmless(text[end:]))
    return shown


def _colour(strength: float) -> Style:
    """`strength` is from -1 to 1."""
    if abs(strength) < LEAST_COLOURED:
        return Style()
    level = 50 + 120 * abs(strength)
    background = Color.from_rgb(0, level, 0) if strength > 0 else Color.from_rgb(level, 0, 0)
    return Style(color="white", bgcolor=background)


# Replay


@contextmanager
def replay_progress() -> Iterator[Report]:
    """A progress bar on a terminal, elsewhere a line every few seconds; on standard error."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.fields[said]}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", said="", total=None)

        def show(tally: Tally, file: LineFile) -> None:
            said = f"{tally.confirmed:,} of {tally.sent:,} confirmed"
            progress.update(task, total=file.size, completed=file.position, said=said)

        yield show


def _lines(console: Console) -> Callable[[Tally, LineFile], None]:
    due = time.monotonic() + SECONDS_BETWEEN_LINES

    def show(tally: Tally, file: LineFile) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + SECONDS_BETWEEN_LINES
        share = f", {file.position / file.size:.0%} of the file" if file.size else ""
        console.print(f"{tally.confirmed:,} of {tally.sent:,} confirmed{share}")

    return show
