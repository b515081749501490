"""`bellwether train --add-task` and `--add-label`: a user's own tasks and labels on a bundle.

The encoder stays as it is. Nothing that is in the parent's graphs is written anew: each gets one
product more, beside those that are there. So what the other heads say, and the logits of a head's
known labels, stay the same bit for bit, on any processor.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models import bundle as bundles
from models.answers import measured, reference
from models.bundle import (
    SHIPPED_BUNDLE,
    Bundle,
    HeadEntry,
    Manifest,
    replace_folder,
    write_manifest,
)
from models.calibration import NEVER, fit_temperature, plain_answers, softmax
from models.classifier import Classifier
from models.columns import ColumnData, fit_columns, joined
from models.data import DataError, Example, Split, of_task
from models.engine import OnnxEngine
from models.heads import (
    FloatArray,
    HeadData,
    IntArray,
    cooled,
    fit_head,
    head_arrays,
    head_logits,
    heads_of,
)
from models.labelled import read_examples
from models.measures import accuracy
from models.network import Head, with_columns
from models.probes import write_probes
from models.recipe import Recipe
from models.vectors import Vectors, read_vectors
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
# With fewer texts kept back nobody knows when an early answer to a new task will do.
LEAST_TEXTS_FOR_EXITS = 30
# How far from 1 a new task's temperature may be before its texts have spoken, in logarithms.
TEMPERATURE_SPREAD = 0.5
# A logit that never wins.
SILENT = -30.0
ADDITIONS = "additions"

Report = Callable[[str], None]


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


@dataclass(frozen=True, slots=True)
class _Addition:
    """What a bundle gets.

    columns: for each stage those of the heads that are new or grow, by the head's name.
    entries: of the same heads, as the manifest will have them.
    """

    task: str
    labels: tuple[str, ...]
    taxonomy: Taxonomy
    columns: Sequence[Mapping[str, Head]]
    entries: Mapping[str, HeadEntry]


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
        self.ngrams = self.parent.ngram_reader
        self.data = data
        self.out = out
        self.seed = seed
        self.threads = threads
        self.report = report
        self.recipe = Recipe()
        self.stages = range(len(self.parent.manifest.stages))

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
        heads, entry = self._fit_task(name, labels, examples, self._vectors(examples))
        addition = _Addition(
            task=name,
            labels=labels,
            taxonomy=self.parent.taxonomy.with_task(own_task(name, labels)),
            columns=[{name: head} for head in heads],
            entries={name: entry},
        )
        return self._write(addition, examples)

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
        heads, entry = self._fit_labels(name, labels, examples, self._vectors(examples))
        columns, entries = [{name: head} for head in heads], {name: entry}
        if name == SENTIMENT:
            # Companies have the same labels, but nothing here says which company has a new one.
            for of_stage, head in zip(
                columns,
                heads_of(self.parent, COMPANY_SENTIMENT, head_arrays(self.parent)),
                strict=True,
            ):
                of_stage[COMPANY_SENTIMENT] = _silent(labels, len(head.weight))
            entries[COMPANY_SENTIMENT] = self._grown(COMPANY_SENTIMENT, labels)
        more = taxonomy.with_labels(name, labels, sentiment)
        return self._write(_Addition(name, labels, more, columns, entries), examples)

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

    def _vectors(self, examples: Sequence[Example]) -> Vectors:
        engine = OnnxEngine(
            self.parent.graphs,
            self.parent.tokenizer,
            self.parent.manifest.window_tokens,
            threads=self.threads,
        )
        return read_vectors(engine, examples, self.report)

    def _fit_task(
        self, name: str, labels: tuple[str, ...], examples: Sequence[Example], vectors: Vectors
    ) -> tuple[list[Head], HeadEntry]:
        """A head a stage, cooled, and when each stage's answer will do."""
        parts: defaultdict[Split, list[Example]] = defaultdict(list)
        for example in examples:
            parts[example.split].append(example)
        kept_back = parts[Split.DEVELOPMENT] + parts[Split.CALIBRATION]
        heads, temperatures = [], []
        for stage in self.stages:
            # Of few texts a part may have none. Then the other does, or what was learnt from.
            learning, choosing, calibrating = (
                _head_data(texts, labels, vectors, stage)
                for texts in (
                    parts[Split.TRAIN],
                    parts[Split.DEVELOPMENT] or kept_back or parts[Split.TRAIN],
                    parts[Split.CALIBRATION] or kept_back,
                )
            )
            head = fit_head(labels, learning, choosing, self.recipe.penalties, self.seed)
            temperature = fit_temperature(
                head_logits(head, calibrating), calibrating.targets, TEMPERATURE_SPREAD
            )
            heads.append(cooled(head, temperature))
            temperatures.append(temperature)
            self.report(f"stage {stage + 1}: temperature {temperature:.2f}")
        never = (NEVER,) * (len(heads) - 1)
        return heads, HeadEntry(
            labels=labels,
            temperatures=tuple(temperatures),
            plain_from=self._exits(name, heads, kept_back, vectors) or never,
        )

    def _fit_labels(
        self, name: str, labels: tuple[str, ...], examples: Sequence[Example], vectors: Vectors
    ) -> tuple[list[Head], HeadEntry]:
        """The columns of the new labels, a stage each, and when each stage's answer will do."""
        learning = of_task(examples, name, Split.TRAIN)
        kept_back = of_task(examples, name, Split.DEVELOPMENT, Split.CALIBRATION)
        known = heads_of(self.parent, name, head_arrays(self.parent))
        # As if all labels were equally frequent, or the known ones more so, if they are here.
        new = sum(example.label in labels for example in learning)
        weight = max(1.0, new / len(labels) * len(known[0].labels) / (len(learning) - new))
        columns = []
        for stage, head in enumerate(known):
            train, held_out = (
                ColumnData.of(
                    head,
                    vectors.of(texts, stage),
                    _column_targets(texts, labels),
                    weight,
                    self._beside(head, name, texts, stage),
                )
                for texts in (learning, kept_back or learning)
            )
            columns.append(fit_columns(labels, train, held_out))
        wide = [joined(head, more) for head, more in zip(known, columns, strict=True)]
        self._compare([e for e in examples if e.split is not Split.TRAIN], vectors, wide[-1])
        entry = self._grown(name, labels)
        # No sooner than before: of the known labels more texts have spoken then.
        exits = self._exits(name, wide, kept_back, vectors) or entry.plain_from
        plain_from = tuple(max(pair) for pair in zip(entry.plain_from, exits, strict=True))
        return columns, entry.model_copy(update={"plain_from": plain_from})

    def _exits(
        self, name: str, heads: Sequence[Head], texts: Sequence[Example], vectors: Vectors
    ) -> tuple[float, ...]:
        """From which confidence on each stage but the last will do; empty where too few texts can
        tell."""
        if len(texts) < LEAST_TEXTS_FOR_EXITS:
            return ()
        by_stage = [
            softmax(
                head_logits(head, _head_data(texts, head.labels, vectors, stage))
                + self._beside(head, name, texts, stage)
            )
            for stage, head in enumerate(heads)
        ]
        return plain_answers(by_stage, self.recipe.exit_loss)

    def _compare(self, texts: Sequence[Example], vectors: Vectors, head: Head) -> None:
        """Says what the new labels took from the known ones."""
        data = _head_data(texts, head.labels, vectors, self.stages[-1])
        logits = head_logits(head, data)
        if texts:
            logits = logits + self._beside(head, texts[0].task, texts, self.stages[-1])
        known = len(self.parent.manifest.heads[texts[0].task].labels) if texts else 0
        old = data.targets < known
        for rows, said in ((old, "known"), (~old, "new")):
            if rows.any():
                before = accuracy(data.targets[rows], logits[rows, :known].argmax(axis=1))
                now = accuracy(data.targets[rows], logits[rows].argmax(axis=1))
                self.report(
                    f"{said} labels, {rows.sum():,} texts kept back: accuracy {before:.3f} before, "
                    f"{now:.3f} now"
                )

    def _beside(self, head: Head, name: str, texts: Sequence[Example], stage: int) -> FloatArray:
        """What the n-grams add to the head's logits, [texts, labels]."""
        return self.ngrams.logits(name, [e.text for e in texts], len(head.labels), stage)

    def _grown(self, name: str, labels: Sequence[str]) -> HeadEntry:
        entry = self.parent.manifest.heads[name]
        return entry.model_copy(update={"labels": (*entry.labels, *labels)})

    def _write(self, addition: _Addition, examples: Sequence[Example]) -> Manifest:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.out.parent) as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            self._write_files(folder, addition)
            manifest = self._manifest(addition, len(examples))
            sealed = self._seal(folder, manifest, addition.task, examples)
            replace_folder(folder, self.out)
        self.report(f"Wrote bundle {sealed.version} to {self.out}")
        return sealed

    def _write_files(self, folder: Path, addition: _Addition) -> None:
        from safetensors.numpy import save_file

        arrays = head_arrays(self.parent)
        for stage, columns in zip(self.stages, addition.columns, strict=True):
            graph = self.parent.graphs[stage]
            (folder / graph.name).write_bytes(with_columns(graph.read_bytes(), columns))
            for name, head in columns.items():
                for part, array in (("weight", head.weight), ("bias", head.bias)):
                    key = f"{stage + 1}/{name}.{part}"
                    there = [arrays[key]] if key in arrays else []
                    arrays[key] = np.concatenate([*there, array], axis=-1)
        save_file(arrays, folder / bundles.HEADS)
        (folder / bundles.HEADS).chmod(0o644)  # safetensors gives it to its owner alone
        for name in (bundles.TOKENIZER, bundles.WEIGHTS, bundles.NGRAMS, bundles.STATISTICS):
            copyfile(self.parent.folder / name, folder / name)
        (folder / bundles.TAXONOMY).write_text(addition.taxonomy.as_yaml(), encoding="utf-8")
        (folder / bundles.PROBES).write_bytes(b"")

    def _manifest(self, addition: _Addition, texts: int) -> Manifest:
        parent, entries = self.parent.manifest, dict(addition.entries)
        record: dict[str, Any] = {
            "task": addition.task,
            "labels": list(addition.labels),
            "file": self.data.name,
            "sha256": sha256(self.data.read_bytes()).hexdigest(),
            "texts": texts,
            "seed": self.seed,
        }
        additions = [*parent.settings.get(ADDITIONS, []), record]
        return parent.model_copy(
            update={
                "settings": {**parent.settings, ADDITIONS: additions},
                "taxonomy_version": addition.taxonomy.version,
                "company_sentiment": entries.pop(COMPANY_SENTIMENT, parent.company_sentiment),
                "tasks": {**parent.tasks, **entries},
                "parent": parent.version,
                "version": "",
            }
        )

    def _seal(
        self, folder: Path, manifest: Manifest, task: str, examples: Sequence[Example]
    ) -> Manifest:
        """Measures the task as served and asks the probes, then seals the bundle for good."""
        write_manifest(folder, manifest)
        classifier = Classifier.load(folder, threads=self.threads)
        whole = Classifier.load(folder, threads=self.threads, early_exit=False)
        write_probes(folder / bundles.PROBES, whole.classify)
        found = measured(classifier, of_task(examples, task, Split.TEST))
        for values in found.values():
            self.report(
                f"{task} as served, {values['texts']:,.0f} texts kept back: accuracy "
                f"{values['accuracy']:.3f}, macro-F1 {values['macro_f1']:.3f}"
            )
        spread = reference(classifier, examples, task)
        if spread and task in manifest.reference:
            spread[task] = manifest.reference[task].joined(spread[task])
        elif task in self.parent.taxonomy.tasks:
            spread = {}  # of the known labels the file has too few texts to go by
        measures = {
            "metrics": {**manifest.metrics, task: found},
            "reference": {**manifest.reference, **spread},
        }
        return write_manifest(folder, manifest.model_copy(update=measures))


def _check_sentiment(name: str, sentiment: str | None, taxonomy: Taxonomy) -> None:
    """New emotions need a sentiment, and nothing else does."""
    sentiments = taxonomy.tasks[SENTIMENT].labels
    if name != EMOTION and sentiment:
        raise ConfigurationError(f"--sentiment is for new labels of {EMOTION} only.")
    if name == EMOTION and sentiment not in sentiments:
        raise ConfigurationError(
            f"Say by --sentiment which one the new emotions make: {', '.join(sentiments)}."
        )


def _head_data(
    examples: Sequence[Example], labels: Sequence[str], vectors: Vectors, stage: int
) -> HeadData:
    positions = {label: position for position, label in enumerate(labels)}
    targets = np.array([positions[e.label] for e in examples], np.int64)
    return HeadData(vectors.of(examples, stage), targets)


def _column_targets(examples: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """0 for any known label, from 1 on the new ones."""
    positions = {label: position for position, label in enumerate(labels, start=1)}
    return np.array([positions.get(e.label, 0) for e in examples], np.int64)


def _silent(labels: tuple[str, ...], width: int) -> Head:
    return Head(
        labels,
        np.zeros((width, len(labels)), np.float32),
        np.full(len(labels), SILENT, np.float32),
    )
