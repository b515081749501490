"""Heads of a user's own tasks, and columns of new labels in the heads that are there, fitted on the
vectors of a bundle's own graphs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from models.bundle import Bundle, HeadEntry
from models.calibration import NEVER, fit_temperature, plain_answers, softmax
from models.columns import ColumnData, fit_columns, joined
from models.data import Example, Split, of_task
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
from models.measures import accuracy
from models.network import Head
from models.ngrams import NgramReader
from models.recipe import Recipe
from models.statistics import ClassStatistics
from models.vectors import Vectors

# With fewer texts kept back nobody knows when an early answer to a new task will do.
LEAST_TEXTS_FOR_EXITS = 30
# How far from 1 a new task's temperature may be before its texts have spoken, in logarithms.
TEMPERATURE_SPREAD = 0.5
# A logit that never wins.
SILENT = -30.0


class AddedHead(NamedTuple):
    """What a head gets: columns for each stage, all of them where the head is new, and its entry in
    the manifest, which says when each stage's answer will do. statistics: of a new head's training
    texts, one a stage."""

    columns: list[Head]
    entry: HeadEntry
    statistics: Sequence[ClassStatistics] = ()


@dataclass(frozen=True)
class HeadFitting:
    """Fits what is added to a bundle's heads. `vectors` are of all texts that are given."""

    parent: Bundle
    vectors: Vectors
    seed: int
    report: Callable[[str], None]

    recipe: ClassVar[Recipe] = Recipe()

    @cached_property
    def ngrams(self) -> NgramReader:
        return self.parent.ngram_reader

    @property
    def stages(self) -> range:
        return range(len(self.parent.manifest.stages))

    def of_task(self, name: str, labels: tuple[str, ...], examples: Sequence[Example]) -> AddedHead:
        """The head of a new task, cooled."""
        parts: defaultdict[Split, list[Example]] = defaultdict(list)
        for example in examples:
            parts[example.split].append(example)
        kept_back = parts[Split.DEVELOPMENT] + parts[Split.CALIBRATION]
        heads, temperatures, statistics = [], [], []
        for stage in self.stages:
            # Of few texts a part may have none. Then the other does, or what was learnt from.
            learning, choosing, calibrating = (
                _head_data(texts, labels, self.vectors, stage)
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
            statistics.append(ClassStatistics.of(learning.vectors, learning.targets, len(labels)))
            self.report(f"stage {stage + 1}: temperature {temperature:.2f}")
        never = (NEVER,) * (len(heads) - 1)
        entry = HeadEntry(
            labels=labels,
            temperatures=tuple(temperatures),
            plain_from=self._exits(name, heads, kept_back) or never,
        )
        return AddedHead(heads, entry, statistics)

    def of_labels(
        self, name: str, labels: tuple[str, ...], examples: Sequence[Example]
    ) -> AddedHead:
        """The columns of new labels of a task that is there."""
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
                    self.vectors.of(texts, stage),
                    _column_targets(texts, labels),
                    weight,
                    self._beside(head, name, texts, stage),
                )
                for texts in (learning, kept_back or learning)
            )
            columns.append(fit_columns(labels, train, held_out))
        wide = [joined(head, more) for head, more in zip(known, columns, strict=True)]
        self._compare([e for e in examples if e.split is not Split.TRAIN], wide[-1])
        entry = self._grown(name, labels)
        # No sooner than before: of the known labels more texts have spoken then.
        exits = self._exits(name, wide, kept_back) or entry.plain_from
        plain_from = tuple(max(pair) for pair in zip(entry.plain_from, exits, strict=True))
        return AddedHead(columns, entry.model_copy(update={"plain_from": plain_from}))

    def silent(self, name: str, labels: tuple[str, ...]) -> AddedHead:
        """Columns of new labels that are never answered."""
        known = heads_of(self.parent, name, head_arrays(self.parent))
        columns = [_silent(labels, len(head.weight)) for head in known]
        return AddedHead(columns, self._grown(name, labels))

    def _exits(
        self, name: str, heads: Sequence[Head], texts: Sequence[Example]
    ) -> tuple[float, ...]:
        """From which confidence on each stage but the last will do; empty where too few texts can
        tell."""
        if len(texts) < LEAST_TEXTS_FOR_EXITS:
            return ()
        by_stage = [
            softmax(
                head_logits(head, _head_data(texts, head.labels, self.vectors, stage))
                + self._beside(head, name, texts, stage)
            )
            for stage, head in enumerate(heads)
        ]
        return plain_answers(by_stage, self.recipe.exit_loss)

    def _compare(self, texts: Sequence[Example], head: Head) -> None:
        """Says what the new labels took from the known ones."""
        data = _head_data(texts, head.labels, self.vectors, self.stages[-1])
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
