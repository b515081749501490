"""A classifier's answers to labelled examples."""

from collections.abc import Sequence

from models.classifier import Classifier
from models.data import Example
from schemas.predictions import Prediction
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT

CHUNK_TEXTS = 2048


def answers(classifier: Classifier, examples: Sequence[Example]) -> list[Prediction]:
    """The answer to each example's own task, in order."""
    found: list[Prediction] = []
    for start in range(0, len(examples), CHUNK_TEXTS):
        chunk = examples[start : start + CHUNK_TEXTS]
        tasks = [SENTIMENT if e.task == COMPANY_SENTIMENT else e.task for e in chunk]
        classifications = classifier.classify(
            [e.text for e in chunk],
            [classifier.taxonomy.tasks[task].kind for task in tasks],
            [[e.span] if e.span else [] for e in chunk],
        )
        found += [
            answer.companies[0] if example.span else answer.predictions[task]
            for answer, example, task in zip(classifications, chunk, tasks, strict=True)
        ]
    return found
