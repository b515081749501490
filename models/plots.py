"""The report's plots, as SVG to stand in a page: without ids that clash or references outside."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from models.results import SetResult, Slice
from models.robustness import RobustnessReport

# Okabe and Ito's colours, which the colour-blind tell apart, from dark to light.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
INK, GRID = "#334155", "#e2e8f0"
MAX_NUMBERED_LABELS = 10
# Bins with a smaller share of a set's texts jump about; they are left out.
MIN_BIN_SHARE = 0.01

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#94a3b8",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": GRID,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # the page's own fonts
    "svg.hashsalt": "bellwether",  # the same report twice is the same page
    "text.color": INK,
    "text.parse_math": False,  # a label's dollar signs are its own
    "xtick.color": INK,
    "ytick.color": INK,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_STYLE_SHEET = re.compile(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(?::xlink)?="[^"]*"')


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Sizes are in inches."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The page's fonts have letters which those that the plot is measured by may lack.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = Figure(figsize=(width, height))
        yield figure, figure.add_subplot()


def _svg(figure: Figure, name: str, words: str) -> str:
    """`name` makes the ids the plot's own; `words` say what is to be seen."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata=_NO_METADATA)
    svg = out.getvalue()
    svg = _STYLE_SHEET.sub("", svg[svg.index("<svg") :], count=1)
    head, body = svg.split(">", 1)
    # In HTML elements of SVG need no namespace.
    head = _NAMESPACES.sub("", head)
    head += f' role="img" aria-label="{words}" style="stroke-linejoin:round;stroke-linecap:butt"'
    body = body.replace("xlink:href", "href").replace(' href="#', f' href="#{name}-')
    body = body.replace("url(#", f"url(#{name}-").replace(' id="', f' id="{name}-')
    return f"{head}>{body}"


def reliability_plot(sets: Sequence[SetResult], name: str) -> str:
    """Accuracy over confidence (Guo et al. 2017, figure 1); a point's area is its texts."""
    with _drawing(4.4, 4.0) as (figure, axes):
        axes.plot([0, 1], [0, 1], color="#94a3b8", linestyle="--", linewidth=1)
        for result, colour in zip(sets, _colours(len(sets)), strict=True):
            bins = [
                each for each in result.reliability if each.texts >= MIN_BIN_SHARE * result.texts
            ]
            x = [each.confidence for each in bins]
            y = [each.accuracy for each in bins]
            areas = [12 + 130 * each.texts / result.texts for each in bins]
            axes.plot(x, y, color=colour, linewidth=1.2, label=result.source)
            axes.scatter(x, y, s=areas, color=colour, alpha=0.75, linewidths=0)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        axes.legend(loc="upper left")
        return _svg(figure, name, "Reliability diagram: accuracy over confidence")


def coverage_plot(sets: Sequence[SetResult], name: str) -> str:
    """Accuracy on the surest texts, over how many these are."""
    with _drawing(4.4, 4.0) as (figure, axes):
        lowest = 1.0
        for result, colour in zip(sets, _colours(len(sets)), strict=True):
            y = [point.accuracy for point in result.coverage]
            axes.plot(
                [point.coverage for point in result.coverage], y,
                color=colour, linewidth=1.6, label=result.source,
            )  # fmt: skip
            lowest = min(lowest, *y)
        axes.set(
            xlim=(0, 1), ylim=(max(0.0, lowest - 0.05), 1.01),
            xlabel="share of texts, the surest first", ylabel="accuracy",
        )  # fmt: skip
        axes.legend(loc="best")
        return _svg(figure, name, "Accuracy over coverage")


def confusion_plot(labels: Sequence[str], counts: Sequence[Sequence[int]], name: str) -> str:
    """A square a pair of labels, the darker the greater its share of the true label."""
    matrix = np.array(counts)
    numbered = len(labels) <= MAX_NUMBERED_LABELS
    inches = 4.6 if numbered else 3 + 0.17 * len(labels) if len(labels) <= 30 else 11.0
    with _drawing(inches, inches) as (figure, axes):
        shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        true, predicted = np.nonzero(matrix)
        cells = list(zip(true.tolist(), predicted.tolist(), strict=True))
        squares = [Rectangle((p - 0.5, t - 0.5), 1, 1) for t, p in cells]
        colours = matplotlib.colormaps["Blues"](0.08 + 0.87 * shares[true, predicted])
        axes.add_collection(PatchCollection(squares, facecolors=list(colours), linewidths=0))
        if numbered:
            for t, p in cells:
                colour = "white" if shares[t, p] > 0.55 else INK
                axes.text(p, t, f"{matrix[t, p]:,}", color=colour, ha="center", va="center")
        places = range(len(labels))
        size = 8.5 if numbered else 7.0 if len(labels) <= 30 else 5.0
        axes.set_xticks(places, labels, rotation=90 if not numbered else 45, fontsize=size)
        axes.set_yticks(places, labels, fontsize=size)
        if numbered:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set(
            xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5),
            xlabel="predicted", ylabel="true", aspect="equal",
        )  # fmt: skip
        return _svg(figure, name, "Confusion of true and predicted labels")


def slices_plot(slices: Sequence[Slice], name: str) -> str:
    """Accuracy of each slice with its interval; beside it the mean confidence as a hollow ring."""
    with _drawing(6.4, 0.7 + 0.27 * len(slices)) as (figure, axes):
        rows = list(range(len(slices)))
        respects = list(dict.fromkeys(each.by for each in slices))
        for row, each in enumerate(slices):
            colour = COLOURS[respects.index(each.by)]
            axes.plot(each.accuracy_interval, (row, row), color=colour, linewidth=2, alpha=0.5)
            axes.plot(each.accuracy, row, "o", color=colour, markersize=5)
            axes.plot(
                each.mean_confidence, row, "o", markersize=6,
                markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.8,
            )  # fmt: skip
        names = [f"{each.name} ({each.texts:,})" for each in slices]
        axes.set_yticks(rows, names)
        least = min(min(each.accuracy_interval[0], each.mean_confidence) for each in slices)
        axes.set(ylim=(len(slices) - 0.5, -0.5), xlim=(max(0.0, least - 0.05), 1.01))
        axes.set_xlabel("accuracy with its 95 % interval; ring: mean confidence")
        return _svg(figure, name, "Accuracy and mean confidence of slices")


def robustness_plot(report: RobustnessReport, name: str) -> str:
    """The share of cases that failed, by capability and task."""
    tasks = list(dict.fromkeys(each.task for each in report.capabilities))
    capabilities = list(dict.fromkeys(each.capability for each in report.capabilities))
    thickness = 0.8 / max(1, len(tasks))
    with _drawing(6.4, 0.8 + 0.42 * len(capabilities)) as (figure, axes):
        for place, (task, colour) in enumerate(zip(tasks, _colours(len(tasks)), strict=True)):
            own = [each for each in report.capabilities if each.task == task]
            offset = (place - (len(tasks) - 1) / 2) * thickness
            axes.barh(
                [capabilities.index(each.capability) + offset for each in own],
                [each.failure_rate for each in own],
                height=thickness * 0.9, color=colour, label=task,
            )  # fmt: skip
        axes.set_yticks(range(len(capabilities)), capabilities)
        axes.set(ylim=(len(capabilities) - 0.5, -0.5), xlim=(0, 1), xlabel="cases that failed")
        figure.legend(loc="outside upper left", ncols=2)
        return _svg(figure, name, "Share of behavioural tests that failed")


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]
