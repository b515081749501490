"""`bellwether evaluate`: how good a bundle is on texts that it never saw.

The served engine answers the test split; beside it stands what word n-grams with logistic
regression reach, trained on the same training split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from rich.console import Console
from rich.table import Table

from models.bundle import SHIPPED_BUNDLE
from models.calibration import expected_calibration_error
from models.classifier import Classifier
from models.data import DEFAULT_DATA, Example, Split, load_examples, of_task
from models.measures import IntArray, accuracy, confusion, macro_f1, top_confusions
from schemas.errors import ConfigurationError
from schemas.taxonomy import Task, Taxonomy

FloatArray = npt.NDArray[np.float32]

# A whole matrix of more labels does not fit a screen.
MAX_MATRIX_LABELS = 7
TOP_CONFUSIONS = 12
CHUNK_TEXTS = 2048


@dataclass(frozen=True, slots=True)
class SetResult:
    """Results of one task on one data set's test texts; `baseline_*` are the word n-grams'."""

    source: str
    texts: int
    accuracy: float
    macro_f1: float
    calibration_error: float
    baseline_accuracy: float | None
    baseline_macro_f1: float | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Results of one task; the confusion counts [true, predicted] are over all its sets."""

    task: str
    labels: tuple[str, ...]
    sets: tuple[SetResult, ...]
    confusion: IntArray

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "labels": list(self.labels),
            "sets": list(self.sets),
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    bundle: Path | None = None,
    data: Path | None = None,
    *,
    task: str | None = None,
    taxonomy: Taxonomy | None = None,
    as_json: bool = False,
    baseline: bool = True,
    threads: int = 0,
    console: Console | None = None,
) -> list[TaskResult]:
    """Measures a bundle (None: the shipped one) on the test split of `data` and prints the result.

    With `as_json` one JSON object is printed instead of tables. `baseline` needs scikit-learn and
    takes a minute or two. Raises BundleError, DataError (no data), ConfigurationError (no such
    task).
    """
    if baseline:
        import_module("sklearn")  # so that one hears at once that it is missing
    examples = load_examples(data or DEFAULT_DATA)
    classifier = Classifier.load(bundle or SHIPPED_BUNDLE, taxonomy=taxonomy, threads=threads)
    tasks = _chosen(classifier.taxonomy, task)
    results = [_evaluate_task(classifier, examples, each, baseline) for each in tasks]
    out = console or Console()
    if as_json:
        content = {
            "model_version": classifier.version,
            "tasks": [result.as_dict() for result in results],
        }
        out.print_json(orjson.dumps(content).decode())
    else:
        _print(out, classifier.version, results)
    return results


def _chosen(taxonomy: Taxonomy, name: str | None) -> list[Task]:
    if name is None:
        return list(taxonomy.tasks.values())
    if name not in taxonomy.tasks:
        raise ConfigurationError(
            f"There is no task {name!r}. The tasks are {', '.join(taxonomy.tasks)}."
        )
    return [taxonomy.tasks[name]]


def _evaluate_task(
    classifier: Classifier, examples: Sequence[Example], task: Task, baseline: bool
) -> TaskResult:
    test = of_task(examples, task.name, Split.TEST)
    targets = _positions(test, task)
    probabilities = _probabilities(classifier, test, task)
    predicted = probabilities.argmax(axis=1)
    rival = _baseline(of_task(examples, task.name, Split.TRAIN), test, task) if baseline else None
    sets = []
    for source in dict.fromkeys(example.source for example in test):
        rows = np.array([example.source == source for example in test])
        sets.append(
            SetResult(
                source=source,
                texts=int(rows.sum()),
                accuracy=accuracy(targets[rows], predicted[rows]),
                macro_f1=macro_f1(targets[rows], predicted[rows]),
                calibration_error=expected_calibration_error(probabilities[rows], targets[rows]),
                baseline_accuracy=_maybe(accuracy, targets, rival, rows),
                baseline_macro_f1=_maybe(macro_f1, targets, rival, rows),
            )
        )
    matrix = confusion(targets, predicted, len(task.labels))
    return TaskResult(task.name, task.labels, tuple(sets), matrix)


def _maybe(
    measure: Callable[[IntArray, IntArray], float],
    targets: IntArray,
    rival: IntArray | None,
    rows: npt.NDArray[np.bool_],
) -> float | None:
    return None if rival is None else measure(targets[rows], rival[rows])


def _positions(examples: Sequence[Example], task: Task) -> IntArray:
    return np.array([task.labels.index(example.label) for example in examples], np.int64)


def _probabilities(classifier: Classifier, examples: Sequence[Example], task: Task) -> FloatArray:
    rows = []
    for start in range(0, len(examples), CHUNK_TEXTS):
        texts = [example.text for example in examples[start : start + CHUNK_TEXTS]]
        answers = classifier.classify(texts, [task.kind] * len(texts))
        rows += [answer.predictions[task.name].probabilities for answer in answers]
    return np.array(rows, np.float32)


def _baseline(train: Sequence[Example], test: Sequence[Example], task: Task) -> IntArray:
    """What word n-grams with logistic regression predict, as positions of labels."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=200, random_state=0),
    )
    model.fit([example.text for example in train], _positions(train, task))
    return np.asarray(model.predict([example.text for example in test]), np.int64)


def _print(console: Console, version: str, results: Sequence[TaskResult]) -> None:
    table = Table(title=f"Model {version} on texts that it never saw")
    for title in ("task", "set"):
        table.add_column(title)
    for title in ("texts", "accuracy", "macro-F1", "ECE", "n-grams acc.", "n-grams F1"):
        table.add_column(title, justify="right")
    for result in results:
        for line in result.sets:
            table.add_row(result.task, line.source, f"{line.texts:,}", *_figures(line))
    console.print(table)
    for result in results:
        console.print(_confusion_table(result))


def _figures(line: SetResult) -> list[str]:
    values = (
        line.accuracy,
        line.macro_f1,
        line.calibration_error,
        line.baseline_accuracy,
        line.baseline_macro_f1,
    )
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _confusion_table(result: TaskResult) -> Table:
    if len(result.labels) > MAX_MATRIX_LABELS:
        return _top_confusions_table(result)
    table = Table("true \\ predicted", title=f"{result.task}: confusion")
    for label in result.labels:
        table.add_column(label, justify="right")
    for label, counts in zip(result.labels, result.confusion, strict=True):
        table.add_row(label, *(f"{count:,}" for count in counts))
    return table


def _top_confusions_table(result: TaskResult) -> Table:
    table = Table("true", "predicted", title=f"{result.task}: most frequent confusions")
    table.add_column("texts", justify="right")
    for true, predicted, count in top_confusions(result.confusion, result.labels, TOP_CONFUSIONS):
        table.add_row(true, predicted, f"{count:,}")
    return table
