"""`bellwether train --add-task` and `--add-label`: a user's own tasks and labels on a bundle.

The encoder stays as it is, and what the bundle says of everything else (see `addition`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.added_heads import AddedHead, HeadFitting
from models.addition import Addition, Report
from models.bundle import SHIPPED_BUNDLE, Bundle, Manifest
from models.data import DataError, Example, Split, of_task
from models.labelled import read_examples
from models.onnx_engine import OnnxEngine
from models.vectors import read_vectors
from schemas.errors import ConfigurationError
from schemas.records import Kind
from schemas.taxonomy import (
    COMPANY_SENTIMENT,
    EMOTION,
    SENTIMENT,
    Taxonomy,
    own_task,
    own_task_name,
)

# Of a new label. Of known ones on average: with fewer, a new intent took over a point of accuracy
# from Banking77's others.
LEAST_TEXTS_A_LABEL = 10


def add_task(
    bundle: Path | None,
    data: Path,
    out: Path,
    *,
    name: str,
    kind: Kind | None = None,
    taxonomy: Taxonomy | None = None,
    seed: int = 0,
    threads: int = 0,
    report: Report = print,
) -> Manifest:
    """Puts at `out` the bundle (None: the shipped one) with one task more.

    name: `urgency` with a kind, or in full `message.urgency`.
    data: JSON lines with text and label; the task's labels are those that occur.

    Raises ConfigurationError (no such name, the task is there, `out` is the bundle itself),
    DataError (a line is wrong, too few texts or labels) and BundleError.
    """
    full = own_task_name(name, kind)
    return _Extension(bundle, data, out, taxonomy, seed, threads, report).add_task(full)


def add_labels(
    bundle: Path | None,
    data: Path,
    out: Path,
    *,
    task: str,
    sentiment: str | None = None,
    taxonomy: Taxonomy | None = None,
    seed: int = 0,
    threads: int = 0,
    report: Report = print,
) -> Manifest:
    """Puts at `out` the bundle (None: the shipped one) with further labels of one task.

    data: JSON lines with text and label: those that are new, and texts of known labels, which the
        new ones must not take.
    sentiment: that of new emotions; for no other task.

    Raises ConfigurationError (no such task, `out` is the bundle itself), DataError (a line is
    wrong, no label is new, too few texts) and BundleError.
    """
    extension = _Extension(bundle, data, out, taxonomy, seed, threads, report)
    return extension.add_labels(task, sentiment)


class _Extension:
    """One addition to one bundle."""

    def __init__(
        self,
        bundle: Path | None,
        data: Path,
        out: Path,
        taxonomy: Taxonomy | None,
        seed: int,
        threads: int,
        report: Report,
    ) -> None:
        self.parent = Bundle.open(bundle or SHIPPED_BUNDLE, taxonomy)
        if out.resolve() == self.parent.folder.resolve():
            raise ConfigurationError(f"The bundle {out} stays as it is. Name another --out.")
        self.data = data
        self.out = out
        self.seed = seed
        self.threads = threads
        self.report = report

    def add_task(self, name: str) -> Manifest:
        if name in self.parent.taxonomy.tasks:
            raise ConfigurationError(
                f"The bundle has the task {name} already. `--add-label {name}` gives it labels."
            )
        examples = self._examples(name)
        labels = tuple(sorted({example.label for example in examples}))
        if len(labels) < 2:
            raise DataError(
                f"All texts of {self.data} have the label {labels[0]!r}. A task needs two."
            )
        self._check_counts(examples, labels)
        heads = {name: self._fitting(examples).of_task(name, labels, examples)}
        more = self.parent.taxonomy.with_task(own_task(name, labels))
        return self._written(name, labels, more, heads, examples)

    def add_labels(self, name: str, sentiment: str | None) -> Manifest:
        taxonomy = self.parent.taxonomy
        if name not in taxonomy.tasks:
            raise ConfigurationError(
                f"The bundle has no task {name!r}. Its tasks are {', '.join(taxonomy.tasks)}."
            )
        _check_sentiment(name, sentiment, taxonomy)
        examples = self._examples(name)
        labels = tuple(sorted({e.label for e in examples} - set(taxonomy.tasks[name].labels)))
        if not labels:
            raise DataError(f"Every label in {self.data} is one of {name} already.")
        self._check_counts(examples, labels)
        self._check_known(name, [e for e in examples if e.label not in labels])
        fitting = self._fitting(examples)
        heads = {name: fitting.of_labels(name, labels, examples)}
        if name == SENTIMENT:
            # Companies have the same labels, but nothing here says which company has a new one.
            heads[COMPANY_SENTIMENT] = fitting.silent(COMPANY_SENTIMENT, labels)
        more = taxonomy.with_labels(name, labels, sentiment)
        return self._written(name, labels, more, heads, examples)

    def _examples(self, task: str) -> list[Example]:
        examples = read_examples(self.data, task)
        self.report(f"{len(examples):,} labelled texts in {self.data}")
        return examples

    def _check_counts(self, examples: Sequence[Example], labels: Sequence[str]) -> None:
        """Whether there is enough of each label to learn from."""
        counts = Counter(label for _, label in {(e.text, e.label) for e in examples})
        for label in labels:
            if counts[label] < LEAST_TEXTS_A_LABEL:
                raise DataError(
                    f"{self.data} has {counts[label]} different texts with the label {label!r}. "
                    f"It takes at least {LEAST_TEXTS_A_LABEL}."
                )
        for label in set(labels) - {e.label for e in examples if e.split is Split.TRAIN}:
            raise DataError(
                f"The texts with the label {label!r} are nearly all the same, so they stay "
                "together, and none is left to learn from. Add others."
            )

    def _check_known(self, name: str, known: Sequence[Example]) -> None:
        """Whether there are texts that the new labels must not take."""
        if not of_task(known, name, Split.TRAIN):
            raise DataError(
                f"{self.data} has no text of a label that {name} knows, so the new ones would take "
                "them all. Add some hundred; their labels may be what `bellwether classify` says."
            )
        enough = LEAST_TEXTS_A_LABEL * len(self.parent.taxonomy.tasks[name].labels)
        if len(known) < enough:
            self.report(
                f"beware: with only {len(known)} texts of labels that {name} knows, the new ones "
                f"may take some of theirs; {enough} are better"
            )

    def _fitting(self, examples: Sequence[Example]) -> HeadFitting:
        engine = OnnxEngine(
            self.parent.graphs,
            self.parent.tokenizer,
            self.parent.manifest.window_tokens,
            threads=self.threads,
        )
        vectors = read_vectors(engine, examples, self.report)
        return HeadFitting(self.parent, vectors, self.seed, self.report)

    def _written(
        self,
        task: str,
        labels: tuple[str, ...],
        taxonomy: Taxonomy,
        heads: Mapping[str, AddedHead],
        examples: Sequence[Example],
    ) -> Manifest:
        addition = Addition(
            self.parent, task, labels, taxonomy, heads, self.data, examples, self.seed
        )
        return addition.write(self.out, self.threads, self.report)


def _check_sentiment(name: str, sentiment: str | None, taxonomy: Taxonomy) -> None:
    """New emotions need a sentiment, and nothing else does."""
    sentiments = taxonomy.tasks[SENTIMENT].labels
    if name != EMOTION and sentiment:
        raise ConfigurationError(f"--sentiment is for new labels of {EMOTION} only.")
    if name == EMOTION and sentiment not in sentiments:
        raise ConfigurationError(
            f"Say by --sentiment which one the new emotions make: {', '.join(sentiments)}."
        )
