"""`bellwether evaluate`: how good a bundle is, on texts that it never saw or on one's own.

The served engine answers. Beside it stands what word n-grams with logistic regression reach,
trained on the same training split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from models.answers import Classifies, classifications
from models.baseline import word_ngrams
from models.bundle import SHIPPED_BUNDLE, Bundle, taxonomy_of
from models.classifier import Classifier
from models.data import DEFAULT_DATA, DataError, Example, Split, fingerprint, load_examples, of_task
from models.labelled import Labelled, Message, of_examples, read_labelled, read_messages
from models.measures import IntArray, cohens_kappa
from models.results import (
    ALL_SETS,
    Answered,
    Evaluation,
    MessagesResult,
    TaskResult,
    company_result,
    scope_result,
    set_result,
    set_results,
    slices,
)
from models.robustness import RobustnessReport, check_robustness
from schemas.errors import ConfigurationError
from schemas.predictions import Classification
from schemas.records import Kind
from schemas.taxonomy import (
    COMPANY_SENTIMENT,
    EMOTION,
    INTENT,
    SENTIMENT,
    Task,
    Taxonomy,
)

# What is being done, and how many texts of how many are; 0 of 0 where there is nothing to count.
Progress = Callable[[str, int, int], None]

CUSTOMER_MESSAGES = "customer_messages"


def evaluate(
    bundle: Path | None = None,
    data: Path | None = None,
    *,
    task: str | None = None,
    taxonomy: Taxonomy | None = None,
    baseline: bool = True,
    threads: int = 0,
    early_exit: bool = True,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Evaluation:
    """Measures a bundle (None: the shipped one).

    data: a folder of the labelled sets (None: shared/data): their test split, the messages of the
        package and the behavioural tests. Or a file for `task`: all its rows as one set, and
        nothing else.
    task: only this one; news.sentiment includes that of companies.
    baseline: word n-grams are trained on the folder's training split, for comparison; it needs
        scikit-learn and takes a minute or two. A file has none.
    early_exit: whether plain texts leave the network early, as they do where it serves.

    Raises BundleError, DataError (no data, or a line that is wrong), ConfigurationError (no such
    task, or a file without one).
    """
    known, place = taxonomy or taxonomy_of(bundle, None), data or DEFAULT_DATA
    tasks = _chosen(known, task)
    folder = bundle or SHIPPED_BUNDLE
    if data and not data.exists():
        raise DataError(f"There is no folder or file {data} to measure on.")

    def evaluator() -> Evaluator:
        classifier = Classifier.load(folder, taxonomy=known, threads=threads, early_exit=early_exit)
        return Evaluator(classifier, seed, progress)

    if place.exists() and not place.is_dir():
        if task is None:
            raise ConfigurationError(f"Say with --task which task the labels of {place} are for.")
        rows = read_labelled(place, tasks[0])
        return evaluator().of_file(place, tasks[0], rows)
    if baseline:
        import_module("sklearn")  # so that one hears at once that it is missing
    progress("reading the labelled sets", 0, 0)
    examples = load_examples(place)
    found = evaluator().of_sets(place.resolve(), tasks, examples, baseline)
    trained_on = Bundle.open(folder, known).manifest.data_fingerprint
    return replace(found, trained_on_data=trained_on == fingerprint(place))


def _chosen(taxonomy: Taxonomy, name: str | None) -> list[Task]:
    if name is None:
        return list(taxonomy.tasks.values())
    if name == COMPANY_SENTIMENT:
        name = SENTIMENT
    if name not in taxonomy.tasks:
        raise ConfigurationError(
            f"There is no task {name!r}. The tasks are {', '.join(taxonomy.tasks)}."
        )
    return [taxonomy.tasks[name]]


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Asks a classifier and makes the results."""

    classifier: Classifies
    seed: int = 0
    progress: Progress = lambda *_: None

    def of_file(self, file: Path, task: Task, rows: Sequence[Labelled]) -> Evaluation:
        """All rows as one set, whatever their source."""
        result = self.task_result(task.name, task, rows)
        one_set = replace(result, sets=(replace(result.whole, source=file.name),))
        return self._evaluation(str(file), [one_set])

    def of_sets(
        self, folder: Path, tasks: Sequence[Task], examples: Sequence[Example], baseline: bool
    ) -> Evaluation:
        """The test split of each set, the messages of the package and the behavioural tests."""
        _require_known_labels(examples, tasks)
        results = []
        for task in tasks:
            names = (SENTIMENT, COMPANY_SENTIMENT) if task.name == SENTIMENT else (task.name,)
            for name in names:
                test = of_examples(of_task(examples, name, Split.TEST))
                train = of_examples(of_task(examples, name, Split.TRAIN)) if baseline else []
                if test:
                    results.append(self.task_result(name, task, test, train))
        if not results:
            raise DataError(f"The sets in {folder} have no test texts.")
        return self._evaluation(
            str(folder), results, self._messages(tasks), self._robustness(tasks)
        )

    def task_result(
        self,
        name: str,
        task: Task,
        rows: Sequence[Labelled],
        train: Sequence[Labelled] = (),
    ) -> TaskResult:
        """`rows` must not be empty; without `train` nothing stands beside the model."""
        baseline = self._baseline(name, task, rows, train)
        found = self._asked(name, task, rows)
        by_text = [each.predictions[task.name] for each in found]
        predictions = [
            each.companies[0] if each.companies else own
            for each, own in zip(found, by_text, strict=True)
        ]
        true, tokens = [row.label for row in rows], [each.tokens for each in found]
        answered = Answered.of(task.labels, true, predictions)
        of_text = Answered.of(task.labels, true, by_text)
        with_companies = any(row.span or row.company_missing for row in rows)
        return TaskResult(
            task=name,
            labels=task.labels,
            whole=set_result(ALL_SETS, answered, self.seed, baseline),
            sets=set_results(rows, answered, self.seed, baseline),
            slices=slices(rows, tokens, answered, self.seed),
            scope=scope_result(rows, predictions) if name == INTENT else None,
            company=company_result(rows, answered, of_text, self.seed) if with_companies else None,
        )

    def _baseline(
        self, name: str, task: Task, rows: Sequence[Labelled], train: Sequence[Labelled]
    ) -> IntArray | None:
        if not train:
            return None
        self.progress(f"{name}: word n-grams", 0, 0)
        return word_ngrams(train, rows, task.labels)

    def _asked(self, name: str, task: Task, rows: Sequence[Labelled]) -> list[Classification]:
        return classifications(
            self.classifier,
            [row.text for row in rows],
            [task.kind] * len(rows),
            [row.span for row in rows],
            on_texts=lambda done: self.progress(name, done, len(rows)),
        )

    def _messages(self, tasks: Sequence[Task]) -> tuple[MessagesResult, ...]:
        """On the tasks that are of messages and have the labels that these bear."""
        messages = read_messages()
        known = [
            task
            for task in tasks
            if all(message.first.get(task.name) in task.labels for message in messages)
        ]
        if not known:
            return ()
        self.progress("customers' messages", 0, 0)
        texts = [message.text for message in messages]
        found = classifications(
            self.classifier, texts, [Kind.MESSAGE] * len(texts), [None] * len(texts)
        )
        return tuple(self._messages_result(task, messages, found) for task in known)

    def _messages_result(
        self, task: Task, messages: Sequence[Message], found: Sequence[Classification]
    ) -> MessagesResult:
        first = [message.first[task.name] for message in messages]
        second = [message.second[task.name] for message in messages]
        answered = Answered.of(task.labels, first, [each.predictions[task.name] for each in found])
        return MessagesResult(
            task=task.name,
            result=set_result(CUSTOMER_MESSAGES, answered, self.seed),
            agreement=sum(a == b for a, b in zip(first, second, strict=True)) / len(messages),
            kappa=cohens_kappa(first, second),
        )

    def _robustness(self, tasks: Sequence[Task]) -> RobustnessReport:
        self.progress("robustness and fairness", 0, 0)
        report = check_robustness(self.classifier, self.seed)
        names = {task.name for task in tasks}
        judged_by = {Kind.NEWS: SENTIMENT, Kind.MESSAGE: EMOTION}
        return replace(
            report,
            capabilities=tuple(each for each in report.capabilities if each.task in names),
            fairness=tuple(each for each in report.fairness if judged_by[each.kind] in names),
        )

    def _evaluation(
        self,
        data: str,
        tasks: Sequence[TaskResult],
        messages: tuple[MessagesResult, ...] = (),
        robustness: RobustnessReport | None = None,
    ) -> Evaluation:
        return Evaluation(
            model_version=self.classifier.version,
            data=data,
            trained_on_data=None,
            seed=self.seed,
            tasks=tuple(tasks),
            messages=messages,
            robustness=robustness,
        )


def _require_known_labels(examples: Sequence[Example], tasks: Sequence[Task]) -> None:
    known = {task.name: task.labels for task in tasks}
    if SENTIMENT in known:
        known[COMPANY_SENTIMENT] = known[SENTIMENT]
    for example in examples:
        if example.task in known and example.label not in known[example.task]:
            raise DataError(
                f"The set {example.source} has the label {example.label!r}, which {example.task} "
                "has not in the taxonomy."
            )
