"""The last word of the demo: figures, what the servers hold, whether it is as expected."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.demo.drawing import (
    SEVERITIES,
    WIDTH,
    bars,
    label_bars,
    milliseconds,
    sentiment_bars,
    titled,
)
from ops.demo.expectations import Expectations, Holdings
from ops.demo.figures import Counts, Figures, percentile
from schemas.records import Kind


@dataclass(frozen=True, slots=True)
class Act:
    """A part of the demo: `records` sent, and the seconds from the first send until the worker's
    group had committed the last."""

    title: str
    records: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds


def summary(figures: Figures, acts: Sequence[Act]) -> list[RenderableType]:
    """Throughput, latency, documents by label, alerts by rule, dead letters by reason."""
    news = figures.counts.get(Kind.NEWS.stream, Counts())
    messages = figures.counts.get(Kind.MESSAGE.stream, Counts())
    alerts = f"{len(figures.raised)} alerts by rule; {len(figures.resolved)} are over by now"
    return [
        titled("\nThroughput, until the worker had committed the last record", throughput(acts)),
        titled("\nLatency, counted from when a record was due to be sent", latency(figures)),
        Text(),
        beside(
            titled(f"{news.total} news by sentiment", sentiment_bars(news)),
            titled(f"{messages.total} messages by sentiment", sentiment_bars(messages)),
        ),
        Text(),
        beside(
            titled("by topic", label_bars(news.of("topic"), "cyan")),
            titled("by intent", label_bars(messages.of("intent"), "cyan")),
        ),
        Text(),
        beside(
            titled(alerts, alert_bars(figures)),
            titled(f"{len(figures.letters)} dead letters by reason", letter_bars(figures)),
        ),
    ]


def beside(left: RenderableType, right: RenderableType) -> Table:
    """Two halves of the width."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=WIDTH // 2 - 2)
    table.add_column(width=WIDTH // 2)
    table.add_row(left, right)
    return table


def throughput(acts: Sequence[Act]) -> Table:
    """A line for each act."""
    table = Table.grid(padding=(0, 3))
    for act in acts:
        table.add_row(
            act.title, f"{act.records:,} records", f"{act.seconds:.1f} s", f"{act.rate:,.0f}/s"
        )
    return table


def latency(figures: Figures) -> Table:
    """p50 and p99, and how they were observed."""
    table = Table.grid(padding=(0, 3))
    heads = ("", "p50", "p99", "of", "as seen by")
    table.add_row(*(Text(head, "dim") for head in heads))
    rows = (
        ("alert in Redis", figures.alert_seconds, "a reader that waits on the stream"),
        ("document in Elasticsearch", figures.document_seconds, "gets by id, every 20 ms"),
    )
    for name, seconds, observer in rows:
        cells = (milliseconds(percentile(seconds, share)) for share in (0.50, 0.99))
        table.add_row(name, *cells, f"{len(seconds)}", observer)
    return table


def alert_bars(figures: Figures) -> Table:
    """Alerts raised, by rule, in the colour of their severity."""
    styles = {alert.rule: SEVERITIES[alert.severity] for alert in figures.raised}
    rules = Counter(alert.rule for alert in figures.raised).most_common()
    return bars([(rule, number, styles[rule]) for rule, number in rules])


def letter_bars(figures: Figures) -> Table:
    """Dead letters by reason."""
    reasons = Counter(letter.reason.value for letter in figures.letters.values()).most_common()
    return bars([(reason, number, "magenta") for reason, number in reasons])


def verdict(expected: Expectations, held: Holdings, wrong: Sequence[str]) -> RenderableType:
    """Whether the servers hold what they should, and what not."""
    if wrong:
        mark = Text("✗ The servers do not hold what is expected of the samples:", "bold red")
        return Group(mark, *(Text(f"  {line}") for line in wrong))
    documents = ", ".join(f"{held.documents[name]} {name}" for name in expected.documents)
    letters = sum(expected.dead_letters.values())
    alerts = expected.alerts
    return Text(
        f"✓ The servers hold what is expected of the samples: documents, each once: {documents}; "
        f"{letters} dead letters; {len(alerts.must)} events that must be behind an alert of a "
        f"rule are, {len(alerts.must_not)} that must not be are not.",
        "bold green",
    )
