"""A classifier's answers to labelled examples."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from models.data import Example, Split, of_task
from models.drift import Reference, Tally
from models.measures import summary
from models.reading import Span
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy

CHUNK_TEXTS = 2048


class Classifies(Protocol):
    """What is needed of a `Classifier`."""

    taxonomy: Taxonomy
    version: str

    def classify(
        self,
        texts: Sequence[str],
        kinds: Sequence[Kind],
        companies: Sequence[Sequence[Span]] | None = None,
    ) -> list[Classification]: ...


def classifications(
    classifier: Classifies,
    texts: Sequence[str],
    kinds: Sequence[Kind],
    spans: Sequence[Span | None],
    on_texts: Callable[[int], None] = lambda _: None,
) -> list[Classification]:
    """One a text, in order, with the sentiment for the company at its span, where it has one.

    `on_texts` hears how many are done, chunk by chunk.
    """
    found: list[Classification] = []
    for start in range(0, len(texts), CHUNK_TEXTS):
        chunk = slice(start, start + CHUNK_TEXTS)
        companies = [[span] if span else [] for span in spans[chunk]]
        found += classifier.classify(texts[chunk], kinds[chunk], companies)
        on_texts(len(found))
    return found


def reference(
    classifier: Classifies, examples: Sequence[Example], task: str
) -> dict[str, Reference]:
    """By the task's name how its answers to calibration and test texts are spread, as served;
    nothing where there are no such texts."""
    held_out = of_task(examples, task, Split.CALIBRATION, Split.TEST)
    texts = list(dict.fromkeys(example.text for example in held_out))
    kinds = [classifier.taxonomy.tasks[task].kind] * len(texts)
    tally = Tally()
    for found in classifications(classifier, texts, kinds, [None] * len(texts)):
        tally.add(task, found)
    return {task: tally.reference()} if texts else {}


def answers(classifier: Classifies, examples: Sequence[Example]) -> list[Prediction]:
    """The answer to each example's own task, in order."""
    tasks = [SENTIMENT if e.task == COMPANY_SENTIMENT else e.task for e in examples]
    found = classifications(
        classifier,
        [e.text for e in examples],
        [classifier.taxonomy.tasks[task].kind for task in tasks],
        [e.span for e in examples],
    )
    return [
        classification.companies[0] if example.span else classification.predictions[task]
        for classification, example, task in zip(found, examples, tasks, strict=True)
    ]


def measured(classifier: Classifies, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """Accuracy and macro-F1 on each set, as served; nothing where there are no examples."""
    by_source: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for example, answer in zip(examples, answers(classifier, examples), strict=True):
        pair = answer.labels.index(example.label), answer.labels.index(answer.label)
        by_source[example.source].append(pair)
    return {source: summary(*np.array(pairs).T) for source, pairs in by_source.items()}
