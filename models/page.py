"""The report of `bellwether evaluate` as one HTML page that needs nothing else."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models import report
from models.measures import top_confusions
from models.plots import (
    confusion_plot,
    coverage_plot,
    reliability_plot,
    robustness_plot,
    slices_plot,
)
from models.results import Evaluation, SetResult, TaskResult

TEMPLATE = "report.html"
TOP_CONFUSIONS = 15
# Longer tables are folded until one asks for them.
MAX_OPEN_ROWS = 10


def render_page(evaluation: Evaluation) -> str:
    """HTML with style and plots inside; every word of data in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        evaluation=evaluation,
        report=report,
        plots=[_plots(result, f"t{place}") for place, result in enumerate(evaluation.tasks)],
        robustness_plot=evaluation.robustness
        and Markup(robustness_plot(evaluation.robustness, "robustness")),
        drawn_sets=drawn_sets,
        worst=partial(_worst, count=TOP_CONFUSIONS),
        max_open_rows=MAX_OPEN_ROWS,
    )


def drawn_sets(result: TaskResult) -> tuple[SetResult, ...]:
    """The sets, and where there are several also all together."""
    return result.sets if len(result.sets) == 1 else (result.whole, *result.sets)


def _worst(result: TaskResult, count: int) -> list[tuple[str, str, int]]:
    return top_confusions(np.array(result.whole.confusion), result.labels, count)


def _plots(result: TaskResult, name: str) -> Mapping[str, Markup]:
    """`name` keeps the ids of different tasks' plots apart."""
    sets = drawn_sets(result)
    return {
        "reliability": Markup(reliability_plot(sets, f"{name}-reliability")),
        "coverage": Markup(coverage_plot(sets, f"{name}-coverage")),
        "confusion": Markup(
            confusion_plot(result.labels, result.whole.confusion, f"{name}-confusion")
        ),
        "slices": Markup(slices_plot(result.slices, f"{name}-slices")),
    }
