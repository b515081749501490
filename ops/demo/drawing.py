"""Pieces of the picture: bars, lines, tables. Pure: values in, something to print out."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ops.demo.figures import Counts, Figures, percentile
from schemas.alerts import Alert, Severity, Status
from schemas.dead_letters import DeadLetter
from schemas.records import Kind
from stream.dead_letter_box import written
from stream.display import harmless

WIDTH = 100
DASHBOARD_COLUMNS = (26, 26, 42)
BAR_CELLS = 16
MOST_BARS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"
NO_BAR = ""
_MARK = 12
_NOTE = 8

SENTIMENTS = {"positive": "green", "neutral": "bright_black", "negative": "red"}
SEVERITIES = {
    Severity.INFO: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "bold red",
}


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """A bar of `share` of the cells, exact to an eighth of one; something that is there shows."""
    eighths = round(min(1.0, max(0.0, share)) * cells * 8)
    whole, rest = divmod(max(eighths, 1 if share > 0 else 0), 8)
    return ("█" * whole + _EIGHTHS[rest].strip()).ljust(cells)


def bars(rows: Sequence[tuple[str, int, str]], cells: int = BAR_CELLS) -> Table:
    """A line for each (label, number, style); the longest bar is the largest number."""
    most = max((number for _, number, style in rows if style), default=0) or 1
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    for label, number, style in rows:
        drawn = bar(number / most, cells) if style else " " * cells
        table.add_row(label, Text(drawn, style=style), f"{number:>4}")
    return table


def milliseconds(seconds: float | None) -> str:
    """A latency as people read it."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def titled(title: str, content: RenderableType) -> RenderableType:
    """A block with a heading over it."""
    return Group(Text(title, style="bold"), content)


# Lines that stay


@dataclass(frozen=True, slots=True)
class Line:
    """A mark, a text, and a note at the end."""

    mark: str
    style: str
    text: str
    note: str = ""

    def aligned(self) -> RenderableType:
        """Over the whole width; a long text wraps beside the mark."""
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=_MARK)
        table.add_column(ratio=1)
        table.add_column(justify="right", style="dim", no_wrap=True, min_width=_NOTE)
        table.add_row(Text(self.mark, style=self.style), Text(self.text), self.note)
        return table

    def plain(self) -> RenderableType:
        """In one line, however long."""
        note = f"  ({self.note})" if self.note else ""
        return Text(f"{self.mark:<{_MARK}} {self.text}{note}")


def alert_line(alert: Alert, seconds: float | None) -> Line:
    """An alert as it comes, and how long it took."""
    firing = alert.status is Status.FIRING
    mark = alert.severity.value if firing else alert.status.value
    style = SEVERITIES[alert.severity] if firing else "green"
    note = "" if seconds is None else milliseconds(seconds)
    return Line(mark, style, harmless(f"{alert.reason} [{alert.rule}]"), note)


def letter_line(letter: DeadLetter, prefix: str) -> Line:
    """A dead letter as it comes: the reason, what is wrong, where it came from (without the
    namespace's prefix)."""
    text = harmless(f"{letter.reason}: {letter.message}")
    return Line("dead letter", "magenta", text, written(letter.identity).removeprefix(prefix))


# The picture


def dashboard(figures: Figures, title: str) -> RenderableType:
    """What is shown while records go through, at most WIDTH wide."""
    columns = Table.grid(padding=(0, 3))
    for width in DASHBOARD_COLUMNS:  # fixed, so that the picture does not jump
        columns.add_column(width=width)
    news = figures.counts.get(Kind.NEWS.stream, Counts())
    messages = figures.counts.get(Kind.MESSAGE.stream, Counts())
    columns.add_row(
        Group(totals(figures), Text(), latencies(figures)),
        Group(
            titled("News by sentiment", sentiment_bars(news)),
            Text(),
            titled("Messages by sentiment", sentiment_bars(messages)),
        ),
        titled("News by topic", label_bars(news.of("topic"), "cyan", cells=10)),
    )
    return Group(heading(title), columns)


def listening_line(figures: Figures) -> RenderableType:
    """What is shown while there is nothing to do but wait."""
    held = (
        f"{figures.documents:,} documents, {len(figures.raised):,} alerts, "
        f"{len(figures.letters):,} dead letters; listening, Ctrl-C ends"
    )
    return heading(held)


def heading(title: str) -> Rule:
    """A line over the whole width, with words in it."""
    return Rule(Text(title, style="bold"), align="left", style="bold")


def progress(figures: Figures) -> str:
    """How many of what, in one line."""
    return (
        f"{figures.confirmed:,} sent, {figures.finished:,} committed, "
        f"{figures.documents:,} documents, {len(figures.raised):,} alerts, "
        f"{len(figures.letters):,} dead letters"
    )


def totals(figures: Figures) -> Table:
    """How many of what, and how fast."""
    table = Table.grid(padding=(0, 1))
    table.add_row("sent", f"{figures.confirmed:,}")
    table.add_row("committed", f"{figures.finished:,}, {figures.rate:,.0f}/s")
    table.add_row("documents", f"{figures.documents:,}")
    table.add_row("alerts", f"{len(figures.raised):,}")
    table.add_row("dead letters", f"{len(figures.letters):,}")
    return table


def latencies(figures: Figures) -> Table:
    """From send to alert and to document."""
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("Latency", style="bold"), Text("p50", "dim"), Text("p99", "dim"))
    rows = {"alert": figures.alert_seconds, "document": figures.document_seconds}
    for name, seconds in rows.items():
        cells = (milliseconds(percentile(seconds, share)) for share in (0.50, 0.99))
        table.add_row(name, *cells)
    return table


def sentiment_bars(counts: Counts) -> Table:
    """Three bars, always in the same order."""
    found = counts.of("sentiment")
    return bars([(label, found[label], style) for label, style in SENTIMENTS.items()], cells=12)


def label_bars(counts: dict[str, int], style: str, cells: int = BAR_CELLS) -> Table:
    """The most frequent labels, and the others together."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, others = ordered[:MOST_BARS], ordered[MOST_BARS:]
    rows = [(label.replace("_", " "), number, style) for label, number in shown]
    if others:
        rows.append((f"{len(others)} others", sum(number for _, number in others), NO_BAR))
    return bars(rows, cells)
