"""What the benchmarks print: results on standard output, what goes on on standard error."""

import math
import os
import platform
from collections.abc import Sequence
from datetime import date

from rich.table import Table

from stream.display import screen

results = screen()
_progress = screen(stderr=True)


def say(text: str) -> None:
    """Tell what goes on, for those who wait."""
    _progress.print(f"[dim]… {text}[/dim]")


def table(title: str, first: str, *numbers: str) -> Table:
    """A table with one column of words and the others of numbers."""
    made = Table(title=title, title_justify="left", title_style="bold")
    made.add_column(first)
    for heading in numbers:
        made.add_column(heading, justify="right")
    return made


def verdict(reached: bool) -> str:
    """The word for whether a figure is as wanted."""
    return "[green]reached[/green]" if reached else "[red]missed[/red]"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def machine() -> str:
    """Where and when this was measured, in one line."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{date.today()}, {_processor()}, {cores} cores, load before the run {load:.1f}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
