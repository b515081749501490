"""The report of `bellwether evaluate` on a terminal: one table to look at first, details after it.

Every line fits into 100 columns. Names that come from a file were checked when it was read.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import orjson
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.measures import Interval, top_confusions
from models.results import (
    CompanyResult,
    Evaluation,
    MessagesResult,
    ScopeResult,
    Score,
    SetResult,
    TaskResult,
)
from models.robustness import Failure, FairnessResult, RobustnessReport

# A whole matrix, and a line for every label, of more labels does not fit a screen.
MAX_MATRIX_LABELS = 7
MAX_CLASS_LINES = 10
TOP_CONFUSIONS = 10
COVERAGES_SHOWN = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
NOTHING = "–"
WIDTH = 100

HOW_TO_READ = (
    "Ranges are 95 % intervals of the bootstrap. ECE is the expected calibration error; in "
    "brackets, what a perfectly calibrated model stays below 19 times of 20 on as many texts, so "
    "that a larger error (yellow) is more than chance. n-grams: accuracy and macro-F1 of logistic "
    "regression on words and pairs of words."
)


def print_report(console: Console, evaluation: Evaluation) -> None:
    """The whole report."""
    console.print(Text(headline(evaluation), style="bold"))
    if evaluation.trained_on_data is False:
        console.print(Text(SEEN_PERHAPS, style="yellow"))
    console.print()
    console.print(_main_table(evaluation))
    console.print(Text(HOW_TO_READ, style="dim"))
    for result in evaluation.tasks:
        _print_section(console, result.task, _task_details(result))
    if evaluation.messages:
        _print_section(console, "customers' messages of the package", _messages(evaluation))
    if evaluation.robustness:
        _print_section(console, "robustness and fairness", _robustness(evaluation.robustness))


SEEN_PERHAPS = (
    "The model was trained on other data than this folder's: it may have seen some of these texts."
)


def as_json_line(evaluation: Evaluation) -> str:
    """Everything, as one JSON object in one line."""
    return orjson.dumps(evaluation).decode()


def headline(evaluation: Evaluation) -> str:
    """What was measured on what, in one line."""
    texts = sum(result.whole.texts for result in evaluation.tasks)
    model = f"Model {evaluation.model_version}"
    if evaluation.trained_on_data:
        return f"{model} on {texts:,} texts that it never saw, of {evaluation.data}"
    return f"{model} on {texts:,} texts of {evaluation.data}"


def _print_section(console: Console, name: str, parts: Iterable[RenderableType]) -> None:
    console.print()
    console.print(Text(f"── {name} ".ljust(min(console.width, WIDTH), "─"), style="bold"))
    for part in parts:
        console.print(part)


def _table(*columns: str, title: str = "", words: int = 1) -> Table:
    """The first columns, as many as `words`, are of words, the others of figures."""
    table = Table(
        box=None, pad_edge=False, header_style="dim", title=title or None, title_justify="left"
    )
    table.title_style = "bold"
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < words else "right")
    return table


def _main_table(evaluation: Evaluation) -> Table:
    table = _table("", "texts", "accuracy, 95 %", "macro-F1, 95 %", "ECE (chance)", "n-grams")
    table.columns[0].no_wrap = True
    for result in evaluation.tasks:
        table.add_row(Text(result.task, style="bold"))
        for line in result.sets:
            _add_set(table, f"  {line.source}", line)
    if evaluation.messages:
        table.add_row(Text("customers' messages", style="bold"))
        for own in evaluation.messages:
            _add_set(table, f"  {own.task}", own.result)
    return table


def _add_set(table: Table, name: str, line: SetResult) -> None:
    table.add_row(
        Text(name),
        f"{line.texts:,}",
        figure(line.accuracy, line.accuracy_interval),
        macro_f1(line),
        _calibration(line),
        baseline(line),
    )


def figure(value: float, interval: Interval) -> str:
    """A share with its interval, such as "0.786 .757–.815"."""
    low, high = ("1.00" if end > 0.9995 else f"{end:.3f}"[1:] for end in interval)
    return f"{value:.3f} {low}–{high}"


def macro_f1(line: Score) -> str:
    """Nothing where only one label occurs."""
    if line.labels_occurring < 2:
        return NOTHING
    return figure(line.macro_f1, line.macro_f1_interval)


def baseline(line: SetResult) -> str:
    if line.baseline_accuracy is None or line.baseline_macro_f1 is None:
        return NOTHING
    of_labels = f"{line.baseline_macro_f1:.3f}" if line.labels_occurring > 1 else NOTHING
    return f"{line.baseline_accuracy:.3f} {of_labels:<5}"


def _calibration(line: SetResult) -> Text:
    worse = line.calibration_error > line.calibration_error_by_chance
    return Text.assemble(
        (f"{line.calibration_error:.3f}", "yellow" if worse else ""),
        (f" ({line.calibration_error_by_chance:.3f})", "dim"),
    )


def _task_details(result: TaskResult) -> list[RenderableType]:
    parts: list[RenderableType] = [_confusions(result), _classes(result), _slices(result)]
    parts.append(_coverage(result))
    if result.scope:
        parts.append(_scope(result.scope))
    if result.company:
        parts.append(_company(result.whole, result.company))
    return [Group(Text(), part) for part in parts]


def _confusions(result: TaskResult) -> Table:
    if len(result.labels) <= MAX_MATRIX_LABELS:
        table = _table("true \\ predicted", *result.labels, title=f"confusion{_of(result)}")
        for label, counts in zip(result.labels, result.whole.confusion, strict=True):
            table.add_row(label, *(f"{count:,}" for count in counts))
        return table
    title = f"frequent confusions{_of(result)}"
    table = _table("true", "predicted", "texts", title=title, words=2)
    matrix = np.array(result.whole.confusion)
    for true, predicted, count in top_confusions(matrix, result.labels, TOP_CONFUSIONS):
        table.add_row(true, predicted, f"{count:,}")
    return table


def _classes(result: TaskResult) -> Table:
    """All labels where they are few, else those with the smallest F1 among the true ones."""
    found = [(label, score) for label, score in result.whole.classes.items() if score.support]
    words = f"labels{_of(result)}"
    if len(result.labels) > MAX_CLASS_LINES:
        found = sorted(found, key=lambda item: item[1].f1)[:MAX_CLASS_LINES]
        words = (
            f"the {len(found)} hardest of {len(result.labels)} labels; all are in --html and --json"
        )
    table = _table("", "precision", "recall", "F1", "texts", title=words)
    for label, score in found:
        figures = (f"{value:.3f}" for value in (score.precision, score.recall, score.f1))
        table.add_row(Text(label), *figures, f"{score.support:,}")
    return table


def _of(result: TaskResult) -> str:
    return "" if len(result.sets) == 1 else f", {result.whole.source}"


def _slices(result: TaskResult) -> Table:
    table = _table(
        "",
        "texts",
        "accuracy, 95 %",
        "macro-F1, 95 %",
        "mean confidence",
        title=f"slices{_of(result)}",
    )
    for each in result.slices:
        table.add_row(
            Text(f"{each.by}: {each.name}"),
            f"{each.texts:,}",
            figure(each.accuracy, each.accuracy_interval),
            macro_f1(each),
            f"{each.mean_confidence:.3f}",
        )
    return table


def _coverage(result: TaskResult) -> Table:
    shares = [f"{share:.0%}" for share in COVERAGES_SHOWN]
    table = _table("", *shares, "area", title="accuracy on the surest share of texts")
    lines = result.sets if len(result.sets) == 1 else (result.whole, *result.sets)
    for line in lines:
        values = (coverage_at(line, share) for share in COVERAGES_SHOWN)
        table.add_row(
            Text(line.source),
            *(f"{value:.3f}" for value in values),
            f"{line.area_under_coverage:.3f}",
        )
    return table


def coverage_at(line: SetResult, share: float) -> float:
    """The accuracy at the first point of the curve that covers the share."""
    return next(
        point.accuracy for point in line.coverage if point.coverage >= min(share, 1.0) - 1e-9
    )


def _scope(scope: ScopeResult) -> Group:
    heading = Text("does `other` know what no intent fits?", style="bold")
    return Group(heading, *map(Text, scope_lines(scope)))


def scope_lines(scope: ScopeResult) -> list[str]:
    """In words; what was not measured is left out."""
    lines = []
    for auroc, texts, what in (
        (scope.far_auroc, scope.far, "about anything"),
        (scope.near_auroc, scope.near, "about a bank, but of no intent"),
    ):
        if auroc is not None:
            lines.append(
                f"AUROC of P(other), {texts:,} questions {what} against {scope.in_scope:,} of an "
                f"intent: {auroc:.3f}"
            )
    if scope.mapped_as_other is not None:
        lines.append(
            f"{scope.mapped_as_other:.1%} of {scope.mapped:,} questions of CLINC that mean one of "
            "the intents got `other`"
        )
    return lines


def company_rows(whole: Score, company: CompanyResult) -> list[tuple[str, Score, Score]]:
    """Which rows, the scores of the company's own sentiment, and those of the text's."""
    rows = [("all", whole, company.by_text)]
    if company.differing and company.differing_by_text:
        words = "of texts whose companies differ"
        rows.append((words, company.differing, company.differing_by_text))
    return rows


def _company(whole: Score, company: CompanyResult) -> Group:
    table = _table(
        "rows", "texts", "company's acc.", "macro-F1", "text's acc.", "macro-F1",
        title="the company's own sentiment beside the whole text's",
    )  # fmt: skip
    for name, own, text in company_rows(whole, company):
        values = (own.accuracy, own.macro_f1, text.accuracy, text.macro_f1)
        table.add_row(name, f"{own.texts:,}", *(f"{value:.3f}" for value in values))
    missing = [Text(not_found(company), style="yellow")] if company.not_found else []
    return Group(table, *missing)


def not_found(company: CompanyResult) -> str:
    return f"Rows whose company is not in the text (the text's own counts): {company.not_found:,}"


def _messages(evaluation: Evaluation) -> list[RenderableType]:
    table = _table("", "texts", "accuracy, 95 %", "macro-F1, 95 %", "labels agree", "kappa")
    for own in evaluation.messages:
        table.add_row(
            Text(own.task),
            f"{own.result.texts:,}",
            figure(own.result.accuracy, own.result.accuracy_interval),
            figure(own.result.macro_f1, own.result.macro_f1_interval),
            f"{own.agreement:.1%}",
            kappa(own),
        )
    note = never_differ(evaluation.messages)
    return [table, *([Text(note, style="yellow")] if note else [])]


def kappa(own: MessagesResult) -> str:
    return NOTHING if own.kappa is None else f"{own.kappa:.3f}"


def never_differ(messages: Sequence[MessagesResult]) -> str:
    """A warning where agreement says nothing; empty where it does."""
    tasks = [own.task for own in messages if own.never_differ]
    if not tasks:
        return ""
    return (
        f"The second labels of {' and '.join(tasks)} are the first ones in every message. Two "
        "people who judge by themselves differ somewhere, so these are copies, or only messages "
        "on which they agreed were kept: the agreement says nothing about how sure the labels are."
    )


def _robustness(report: RobustnessReport) -> list[RenderableType]:
    parts: list[RenderableType] = [_failures(report)]
    # By capability the first task is enough here; --html has ten of each task.
    examples = {each.capability: each for each in reversed(report.capabilities) if each.examples}
    if examples:
        parts.append(Text("\nexamples of failures", style="bold"))
    for name, each in reversed(examples.items()):
        words = f" ({each.task}): {in_words(each.examples[0])}"
        parts.append(Text.assemble((name, "bold"), words))
    if report.fairness:
        parts += [Text(), _fairness(report.fairness)]
    return parts


def capability_grid(report: RobustnessReport) -> tuple[list[str], dict[str, list[str]]]:
    """The tasks, and for each capability a cell a task: the share of cases that failed."""
    tasks = list(dict.fromkeys(each.task for each in report.capabilities))
    grid: dict[str, list[str]] = {}
    for each in report.capabilities:
        cells = grid.setdefault(each.capability, [NOTHING] * len(tasks))
        cells[tasks.index(each.task)] = f"{each.failure_rate:.1%} of {each.cases:,}"
    return tasks, grid


def _failures(report: RobustnessReport) -> Table:
    tasks, grid = capability_grid(report)
    table = _table("capability", *tasks, title="cases that failed")
    for capability, cells in grid.items():
        table.add_row(capability, *cells)
    return table


def in_words(failure: Failure) -> str:
    """What was asked and answered, in one line."""
    before = f"{failure.before.label} {failure.before.confidence:.2f}"
    if failure.changed is None or failure.after is None:
        return f"“{failure.text}” is {before}; expected {failure.expected}"
    after = f"{failure.after.label} {failure.after.confidence:.2f}"
    return (
        f"“{failure.text}” is {before}, “{failure.changed}” is {after}; expected {failure.expected}"
    )


def _fairness(found: Sequence[FairnessResult]) -> Table:
    table = _table(
        "names of", "sentences", "names", "deviation", "by", "spread (chance)",
        title="how far names move the score, from −1 to 1",
    )  # fmt: skip
    for each in found:
        for group in each.groups:
            table.add_row(
                f"{each.slot}, {each.kind}",
                f"{each.sentences}",
                f"{each.names}",
                f"{each.mean_deviation:.3f}",
                group.attribute,
                f"{group.spread:.3f} ({group.chance_spread:.3f})",
            )
    return table
